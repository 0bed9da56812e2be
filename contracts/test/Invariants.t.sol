// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../src/interfaces/PackedUserOperation.sol";
import {PaymasterTest} from "./PaymasterTest.sol";
import {Test, Vm} from "./Test.sol";
import {IEntryPointUnderTest} from "./helpers/EntryPoints.sol";

/// @notice Does to the paymasters what anybody may try, and keeps its own books of what should be in the deposits.
contract Actors is PaymasterTest {
    /// @notice What each world's deposit should be, in wei.
    uint256[4] public expected;

    /// @notice What the vault should have received, in wei.
    uint256 public toVault;

    /// @notice Operations that landed, and calls that somebody made without a right to.
    uint256 public landed;
    uint256 public refusals;

    constructor() {
        vm.deal(address(this), 1e12 ether);
        setUp();
        for (uint256 i = 0; i < worlds.length; ++i) {
            expected[i] = DEPOSIT;
        }
    }

    /// @notice An operation that a signer has signed lands and is paid.
    function sponsor(uint256 world, bool standby, bool fails) external {
        uint256 i = _enter(world);
        PackedUserOperation memory op = _operation();
        if (fails) op.callData = hex"deadbeef";
        if (expected[i] < 1 ether) return;
        vm.recordLogs();
        _handle(_signed(op, standby ? STANDBY_KEY : SIGNER_KEY));
        expected[i] -= _cost();
        ++landed;
    }

    /// @notice An operation that a stranger has signed, or that was changed after signing, is refused.
    function steal(uint256 world, uint256 bit) external {
        _enter(world);
        PackedUserOperation memory op = bit % 2 == 0 ? _signed(_operation(), STRANGER_KEY) : _sponsored();
        if (bit % 2 != 0) op.paymasterAndData[20 + bit / 16 % 108] ^= bytes1(uint8(1) << uint8(bit / 2 % 8));
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        vm.prank(BUNDLER, BUNDLER);
        (bool done,) = address(w.entryPoint).call(abi.encodeCall(IEntryPointUnderTest.handleOps, (ops, BENEFICIARY)));
        vm.assertTrue(!done, _on("stolen"));
        ++refusals;
    }

    /// @notice Everybody but the one who may is refused, whatever they ask for.
    function meddle(uint256 world, address caller, uint256 what, uint256 amount) external {
        _enter(world);
        bytes[7] memory calls = [
            abi.encodeCall(StipendPaymaster.withdraw, (payable(caller), amount)),
            abi.encodeCall(StipendPaymaster.addStake, (uint32(amount))),
            abi.encodeCall(StipendPaymaster.unlockStake, ()),
            abi.encodeCall(StipendPaymaster.withdrawStake, (payable(caller))),
            abi.encodeCall(StipendPaymaster.transferOwnership, (caller)),
            abi.encodeCall(StipendPaymaster.acceptOwnership, ()),
            abi.encodeCall(StipendPaymaster.moveDepositToVault, ())
        ];
        what %= calls.length;
        if (caller == (what == 6 ? GUARDIAN : OWNER)) return;
        // No transaction comes from the zero address, which is who nobody's pending ownership waits for.
        if (caller == address(0)) return;
        vm.prank(caller);
        (bool done,) = address(w.paymaster).call(calls[what]);
        vm.assertTrue(!done, _on("obeyed"));
        ++refusals;
    }

    /// @notice Anybody deposits.
    function deposit(uint256 world, uint96 amount) external {
        uint256 i = _enter(world);
        w.paymaster.deposit{value: amount}();
        expected[i] += amount;
    }

    /// @notice The owner withdraws.
    function withdraw(uint256 world, uint256 amount) external {
        uint256 i = _enter(world);
        amount %= expected[i] + 1;
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, amount);
        expected[i] -= amount;
    }

    /// @notice The guardian moves everything.
    function rescue(uint256 world, uint256 dice) external {
        if (dice % 8 != 0) return;
        uint256 i = _enter(world);
        vm.prank(GUARDIAN);
        w.paymaster.moveDepositToVault();
        toVault += expected[i];
        expected[i] = 0;
    }

    /// @notice What the EntryPoint says the deposit is, and what ether the paymaster itself holds.
    function actual(uint256 i) external view returns (uint256 inDeposit, uint256 ownEther) {
        address paymaster = address(worlds[i].paymaster);
        return (worlds[i].entryPoint.balanceOf(paymaster), paymaster.balance);
    }

    /// @notice Whether the owner is still the owner.
    function owned(uint256 i) external view returns (bool) {
        return worlds[i].paymaster.owner() == OWNER && worlds[i].paymaster.pendingOwner() == address(0);
    }

    /// @notice What the vault has received.
    function inVault() external view returns (uint256) {
        return VAULT.balance;
    }

    function _enter(uint256 world) private returns (uint256 i) {
        i = world % worlds.length;
        w = worlds[i];
    }

    /// @dev What the last bundle's only event says that its operation cost.
    function _cost() private returns (uint256 cost) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IEntryPointUnderTest.UserOperationEvent.selector) continue;
            vm.assertEq(cost, 0, "events");
            (,, cost,) = abi.decode(logs[i].data, (uint256, bool, uint256, uint256));
        }
    }
}

contract InvariantsTest is Test {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Actors private _actors;

    function setUp() public {
        _actors = new Actors();
    }

    /// @notice What forge calls at random.
    function targetSelectors() external view returns (FuzzSelector[] memory list) {
        bytes4[] memory selectors = new bytes4[](6);
        selectors[0] = Actors.sponsor.selector;
        selectors[1] = Actors.steal.selector;
        selectors[2] = Actors.meddle.selector;
        selectors[3] = Actors.deposit.selector;
        selectors[4] = Actors.withdraw.selector;
        selectors[5] = Actors.rescue.selector;
        list = new FuzzSelector[](1);
        list[0] = FuzzSelector(address(_actors), selectors);
    }

    /// @notice Nothing else is called.
    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(_actors);
    }

    function invariant_a_deposit_falls_only_by_what_the_entry_point_charged_and_who_may_has_taken() public view {
        for (uint256 i = 0; i < 4; ++i) {
            (uint256 inDeposit, uint256 ownEther) = _actors.actual(i);
            vm.assertEq(inDeposit, _actors.expected(i), "deposit");
            vm.assertEq(ownEther, 0, "ether outside the deposit");
        }
    }

    function invariant_the_guardian_pays_only_the_vault() public view {
        vm.assertEq(_actors.inVault(), _actors.toVault(), "vault");
    }

    function invariant_the_ownership_stays() public view {
        for (uint256 i = 0; i < 4; ++i) {
            vm.assertTrue(_actors.owned(i), "ownership");
        }
    }
}
