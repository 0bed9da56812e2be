// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PackedUserOperation} from "../../src/interfaces/PackedUserOperation.sol";

/// @notice The least that is an account. It accepts every signature, so that what a test sees refused was refused by
///         the paymaster alone.
contract TestAccount {
    address private immutable _entryPoint;

    /// @notice Calls of `initialise`, which stands for the initialisation data of an EIP-7702 operation.
    uint256 public initialisations;

    constructor(address entryPoint) {
        _entryPoint = entryPoint;
    }

    receive() external payable {}

    /// @notice Accepts the operation and pays the EntryPoint what it asks for.
    function validateUserOp(PackedUserOperation calldata, bytes32, uint256 missingAccountFunds)
        external
        returns (uint256)
    {
        require(msg.sender == _entryPoint, "not the EntryPoint");
        if (missingAccountFunds != 0) {
            (bool paid,) = msg.sender.call{value: missingAccountFunds}("");
            require(paid, "no funds");
        }
        return 0;
    }

    /// @notice Calls `target` and hands its revert on.
    function execute(address target, uint256 value, bytes calldata data) external {
        require(msg.sender == _entryPoint, "not the EntryPoint");
        (bool done, bytes memory answer) = target.call{value: value}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }

    /// @notice Counts its calls.
    function initialise() external {
        ++initialisations;
    }
}

/// @notice Deploys test accounts at addresses that are known before.
contract TestAccountFactory {
    /// @notice Deploys the account of `salt` and returns its address, the same for every call that has not happened yet.
    function createAccount(address entryPoint, bytes32 salt) external returns (address) {
        return address(new TestAccount{salt: salt}(entryPoint));
    }
}
