// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IEntryPoint} from "../../src/interfaces/IEntryPoint.sol";
import {PackedUserOperation} from "../../src/interfaces/PackedUserOperation.sol";
import {Counter} from "../helpers/Counter.sol";

/// @notice Code that a paymaster may not deploy.
contract Nothing {}

/// @notice A paymaster that pays for everybody and breaks one rule of ERC-7562 for each operation, or none: the control of
///         the check that our own paymaster passes. Its `paymasterData` is the call of one of its deeds, which it makes to
///         itself during validation.
/// @dev    The rules: https://eips.ethereum.org/EIPS/eip-7562#validation-rules
contract RuleBreaker {
    /// @notice What was read is what no chain ever says.
    error Unlikely(uint256 read);

    /// @notice The deed did not work, so that nothing was broken.
    error Undone();

    uint256 private constant PAYMASTER_DATA = 52;
    uint256 private constant NEVER = uint256(keccak256("never"));
    address private constant NOBODY = address(uint160(uint256(keccak256("nobody"))));

    IEntryPoint private immutable _entryPoint;
    Counter private immutable _counter;

    uint256 private _own;

    /// @param entryPoint The EntryPoint whose operations this pays for.
    /// @param counter A contract that is no entity of any operation, and has storage.
    constructor(IEntryPoint entryPoint, Counter counter) payable {
        (_entryPoint, _counter) = (entryPoint, counter);
    }

    /// @notice Adds the value sent, in wei, to the stake.
    function addStake(uint32 unstakeDelaySec) external payable {
        _entryPoint.addStake{value: msg.value}(unstakeDelaySec);
    }

    /// @notice Does the deed and agrees to pay. What the deed returns becomes the context.
    function validatePaymasterUserOp(PackedUserOperation calldata op, bytes32, uint256)
        external
        returns (bytes memory, uint256)
    {
        (bool done, bytes memory context) = address(this).call(op.paymasterAndData[PAYMASTER_DATA:]);
        if (!done) revert Undone();
        return (context, 0);
    }

    /// @dev The optimizer removes what has no effect; what it cannot know might revert.
    function _use(uint256 read) private pure {
        if (read == NEVER) revert Unlikely(read);
    }

    // Allowed to everybody.

    function nothing() external pure {}

    function readsSlotOfSender(address sender) external view {
        _use(_counter.countOf(sender));
    }

    // [OP-011] and [OP-012]: the environment.

    function readsTimestamp() external view {
        _use(block.timestamp);
    }

    function readsNumber() external view {
        _use(block.number);
    }

    function readsOrigin() external view {
        _use(uint160(tx.origin));
    }

    function readsGasPrice() external view {
        _use(tx.gasprice);
    }

    function readsCoinbase() external view {
        _use(uint160(address(block.coinbase)));
    }

    function readsPrevrandao() external view {
        _use(block.prevrandao);
    }

    function readsGasLimit() external view {
        _use(block.gaslimit);
    }

    function readsBaseFee() external view {
        _use(block.basefee);
    }

    function readsBlockHash() external view {
        _use(uint256(blockhash(1)));
    }

    function readsBlobHash() external view {
        _use(uint256(blobhash(0)));
    }

    function readsBlobBaseFee() external view {
        _use(block.blobbasefee);
    }

    function readsGas() external view {
        _use(gasleft());
    }

    // [OP-020], [OP-031] and [OP-080]: running out of gas, creating, and balances.

    /// @dev The gas gets the call as far as the storage, and is not enough to read it.
    function runsOutOfGas() external {
        (bool done,) = address(this).call{gas: 1000}(abi.encodeCall(this.readsOwnSlot, ()));
        if (done) revert Undone();
    }

    function creates() external {
        _use(uint160(address(new Nothing())));
    }

    function createsAtAddress() external {
        _use(uint160(address(new Nothing{salt: 0}())));
    }

    function readsOwnBalance() external view {
        _use(address(this).balance);
    }

    function readsBalance() external view {
        _use(address(_counter).balance);
    }

    // [OP-041], [OP-054] and [OP-061]: calls.

    function callsNobody() external view {
        (bool done,) = NOBODY.staticcall("");
        if (!done) revert Undone();
    }

    function asksEntryPoint() external view {
        _use(_entryPoint.balanceOf(address(this)));
    }

    function hashesEntryPoint() external view {
        _use(uint256(address(_entryPoint).codehash));
    }

    function sendsEther(address payable receiver) external {
        (bool done,) = receiver.call{value: 1}("");
        if (!done) revert Undone();
    }

    // [STO-031] to [STO-033] and [OP-070]: storage.

    function readsOwnSlot() external view {
        _use(_own);
    }

    function writesOwnSlot() external {
        ++_own;
    }

    function readsTransientSlot() external view {
        uint256 read;
        assembly ("memory-safe") {
            read := tload(0)
        }
        _use(read);
    }

    function writesTransientSlot() external {
        assembly ("memory-safe") {
            tstore(0, 1)
        }
    }

    function readsSlotOfItself() external view {
        _use(_counter.countOf(address(this)));
    }

    function readsSlotOfOther() external view {
        _use(_counter.count());
    }

    function writesSlotOfOther() external {
        _counter.increment();
    }

    // [EREP-050], which the ERC has given up and bundlers still know: the context.

    function returnsContext() external pure returns (uint256) {
        return 1;
    }
}
