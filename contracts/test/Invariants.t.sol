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

    /// @notice Who should own each world's paymaster.
    address[4] public ownerOf;

    /// @notice Who should be able to accept each world's paymaster, or zero.
    address[4] public pendingOf;

    /// @notice Operations that landed, calls that somebody made without a right to, and ownerships that moved.
    uint256 public landed;
    uint256 public refusals;
    uint256 public moves;

    constructor() {
        vm.deal(address(this), 1e12 ether);
        setUp();
        for (uint256 i = 0; i < worlds.length; ++i) {
            expected[i] = DEPOSIT;
            ownerOf[i] = OWNER;
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

    /// @notice Whoever may not is refused, whatever they ask for: somebody with another role as much as a stranger.
    function meddle(uint256 world, uint256 who, uint256 what, uint256 amount) external {
        uint256 i = _enter(world);
        address caller = _somebody(i, who);
        bytes[7] memory calls = [
            abi.encodeCall(StipendPaymaster.withdraw, (payable(caller), amount % 4 == 0 ? type(uint256).max : amount)),
            abi.encodeCall(StipendPaymaster.addStake, (uint32(amount))),
            abi.encodeCall(StipendPaymaster.unlockStake, ()),
            abi.encodeCall(StipendPaymaster.withdrawStake, (payable(caller))),
            abi.encodeCall(StipendPaymaster.transferOwnership, (caller)),
            abi.encodeCall(StipendPaymaster.acceptOwnership, ()),
            abi.encodeCall(StipendPaymaster.moveDepositToVault, ())
        ];
        what %= calls.length;
        address may = what == 6 ? GUARDIAN : what == 5 ? pendingOf[i] : ownerOf[i];
        if (caller == may) return;
        vm.prank(caller);
        (bool done,) = address(w.paymaster).call(calls[what]);
        vm.assertTrue(!done, _on("obeyed"));
        ++refusals;
    }

    /// @notice The owner offers the ownership to somebody, or takes an offer back.
    function offer(uint256 world, uint256 who, uint256 dice) external {
        uint256 i = _enter(world);
        address to = dice % 4 == 0 ? address(0) : _somebody(i, who);
        vm.prank(ownerOf[i]);
        w.paymaster.transferOwnership(to);
        pendingOf[i] = to;
    }

    /// @notice Who was offered the ownership takes it.
    function accept(uint256 world) external {
        uint256 i = _enter(world);
        if (pendingOf[i] == address(0)) return;
        vm.prank(pendingOf[i]);
        w.paymaster.acceptOwnership();
        (ownerOf[i], pendingOf[i]) = (pendingOf[i], address(0));
        ++moves;
    }

    /// @notice Anybody deposits.
    function deposit(uint256 world, uint96 amount) external {
        uint256 i = _enter(world);
        w.paymaster.deposit{value: amount}();
        expected[i] += amount;
    }

    /// @notice The owner withdraws a part, or everything without knowing how much that is.
    function withdraw(uint256 world, uint256 amount) external {
        uint256 i = _enter(world);
        bool everything = amount % 4 == 0;
        amount = everything ? expected[i] : amount % (expected[i] + 1);
        vm.prank(ownerOf[i]);
        w.paymaster.withdraw(BENEFICIARY, everything ? type(uint256).max : amount);
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

    /// @notice Who the paymaster says owns it, and may accept it.
    function ownership(uint256 i) external view returns (address owner, address pendingOwner) {
        return (worlds[i].paymaster.owner(), worlds[i].paymaster.pendingOwner());
    }

    /// @notice What the vault has received.
    function inVault() external view returns (uint256) {
        return VAULT.balance;
    }

    /// @dev One of those who have a say in something, or had, or never will.
    function _somebody(uint256 i, uint256 dice) private view returns (address) {
        address[8] memory cast =
            [ownerOf[i], pendingOf[i], OWNER, GUARDIAN, vm.addr(SIGNER_KEY), vm.addr(STANDBY_KEY), STRANGER, BUNDLER];
        address one = cast[dice % cast.length];
        // No transaction comes from the zero address, which is the pending owner while there is none.
        return one == address(0) ? STRANGER : one;
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
        bytes4[] memory selectors = new bytes4[](8);
        selectors[0] = Actors.sponsor.selector;
        selectors[1] = Actors.steal.selector;
        selectors[2] = Actors.meddle.selector;
        selectors[3] = Actors.deposit.selector;
        selectors[4] = Actors.withdraw.selector;
        selectors[5] = Actors.rescue.selector;
        selectors[6] = Actors.offer.selector;
        selectors[7] = Actors.accept.selector;
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

    function invariant_the_ownership_moves_only_from_its_owner_to_whom_it_was_offered() public view {
        for (uint256 i = 0; i < 4; ++i) {
            (address owner, address pendingOwner) = _actors.ownership(i);
            vm.assertEq(owner, _actors.ownerOf(i), "owner");
            vm.assertEq(pendingOwner, _actors.pendingOf(i), "pending owner");
        }
    }
}
