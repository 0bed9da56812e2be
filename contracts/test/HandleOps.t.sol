// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PackedUserOperation} from "../src/interfaces/PackedUserOperation.sol";
import {PaymasterTest} from "./PaymasterTest.sol";
import {Vm} from "./Test.sol";
import {IEntryPointUnderTest} from "./helpers/EntryPoints.sol";
import {Flaky} from "./helpers/Flaky.sol";
import {TestAccount, TestAccountFactory} from "./helpers/TestAccount.sol";

/// @notice Whole bundles through the real EntryPoints.
contract HandleOpsTest is PaymasterTest {
    struct Outcome {
        bool success;
        uint256 cost;
    }

    function test_a_sponsored_operation_costs_the_deposit_exactly_what_its_event_says() public onEveryEntryPoint {
        _assertLandsAndIsPaid(_sponsored(), true);
        vm.assertEq(counter.countOf(address(w.account)), 1, _on("calls"));
        vm.assertEq(address(w.account).balance, 0, _on("the account's ether"));
    }

    function test_an_operation_that_reverts_is_paid_too() public onEveryEntryPoint {
        Flaky flaky = new Flaky();
        flaky.setBroken(true);
        PackedUserOperation memory op = _operation();
        op.callData = abi.encodeCall(TestAccount.execute, (address(flaky), 0, abi.encodeCall(Flaky.poke, ())));
        _assertLandsAndIsPaid(_signed(op, SIGNER_KEY), false);

        flaky.setBroken(false);
        ++op.nonce;
        _assertLandsAndIsPaid(_signed(op, SIGNER_KEY), true);
        vm.assertEq(flaky.pokes(), 1, _on("pokes"));
    }

    function test_an_account_is_deployed_by_its_first_sponsored_operation() public onEveryEntryPoint {
        TestAccountFactory factory = new TestAccountFactory();
        bytes memory create = abi.encodeCall(TestAccountFactory.createAccount, (address(w.entryPoint), bytes32(0)));
        PackedUserOperation memory op = _operation();
        op.sender = _create2Address(address(factory), bytes32(0));
        op.nonce = 0;
        op.initCode = abi.encodePacked(factory, create);
        op.accountGasLimits = _pack(1_000_000, 100_000);
        _assertLandsAndIsPaid(_signed(op, SIGNER_KEY), true);
        vm.assertEq(counter.countOf(op.sender), 1, _on("calls"));
    }

    function test_several_operations_in_one_bundle_are_each_paid() public onEveryEntryPoint {
        PackedUserOperation[] memory ops = new PackedUserOperation[](3);
        for (uint192 i = 0; i < 3; ++i) {
            ops[i] = _operation();
            ops[i].nonce = w.entryPoint.getNonce(ops[i].sender, i);
            ops[i] = _signed(ops[i], SIGNER_KEY);
        }
        uint256 before = w.entryPoint.balanceOf(address(w.paymaster));
        vm.recordLogs();
        _handle(ops);
        Outcome[] memory outcomes = _outcomes();
        vm.assertEq(outcomes.length, 3, _on("events"));
        uint256 cost = outcomes[0].cost + outcomes[1].cost + outcomes[2].cost;
        vm.assertEq(before - w.entryPoint.balanceOf(address(w.paymaster)), cost, _on("cost"));
    }

    function test_a_delegated_account_lands_with_the_marker_in_both_lengths_and_with_data() public {
        for (uint256 i = 1; i < worlds.length; ++i) {
            w = worlds[i];
            address sender = vm.addr(0x7702);
            vm.etch(sender, abi.encodePacked(hex"ef0100", address(w.account)));
            PackedUserOperation memory op = _operation();
            op.sender = sender;
            op.nonce = w.entryPoint.getNonce(sender, 0);
            uint256 before = counter.countOf(sender);

            op.initCode = hex"7702";
            _assertLandsAndIsPaid(_signed(op, SIGNER_KEY), true);

            ++op.nonce;
            op.initCode = abi.encodePacked(bytes20(bytes2(0x7702)));
            _assertLandsAndIsPaid(_signed(op, SIGNER_KEY), true);

            ++op.nonce;
            op.initCode = abi.encodePacked(bytes20(bytes2(0x7702)), TestAccount.initialise.selector);
            uint256 initialisations = TestAccount(payable(sender)).initialisations();
            _assertLandsAndIsPaid(_signed(op, SIGNER_KEY), true);
            vm.assertEq(TestAccount(payable(sender)).initialisations(), initialisations + 1, _on("initialisation"));
            vm.assertEq(counter.countOf(sender) - before, 3, _on("calls"));
        }
    }

    function test_a_delegated_account_that_changed_its_delegate_is_refused() public {
        for (uint256 i = 1; i < worlds.length; ++i) {
            w = worlds[i];
            address sender = vm.addr(0x7702);
            vm.etch(sender, abi.encodePacked(hex"ef0100", address(w.account)));
            PackedUserOperation memory op = _operation();
            op.sender = sender;
            op.nonce = w.entryPoint.getNonce(sender, 0);
            op.initCode = hex"7702";
            op = _signed(op, SIGNER_KEY);

            vm.etch(sender, abi.encodePacked(hex"ef0100", new TestAccount(address(w.entryPoint))));
            _assertBundleRefused(op, "AA34 signature error");
        }
    }

    function test_a_wrong_signer_is_refused() public onEveryEntryPoint {
        _assertBundleRefused(_signed(_operation(), STRANGER_KEY), "AA34 signature error");
    }

    function test_an_unrecoverable_signature_is_refused() public onEveryEntryPoint {
        _assertBundleRefused(_withSignature(_operation(), new bytes(64)), "AA34 signature error");
    }

    function test_a_missing_signature_is_refused() public onEveryEntryPoint {
        _assertBundleRefused(_operation(), "AA34 signature error");
    }

    function test_a_post_op_limit_raised_after_signing_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.paymasterAndData[51] ^= 0x01;
        _assertBundleRefused(op, "AA34 signature error");
    }

    function test_call_data_changed_after_signing_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.callData = "";
        _assertBundleRefused(op, "AA34 signature error");
    }

    function test_an_operation_lands_until_the_end_of_its_window_and_not_after() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        vm.warp(NOW + 601);
        _assertBundleRefused(op, "AA32 paymaster expired or not due");
        vm.warp(NOW + 600);
        _assertLandsAndIsPaid(op, true);
    }

    function test_an_operation_does_not_land_before_its_window() public onEveryEntryPoint {
        PackedUserOperation memory op = _operation();
        op.paymasterAndData = _header(address(w.paymaster), 100_000, 0, NOW, NOW + 600);
        op = _signed(op, SIGNER_KEY);
        vm.warp(NOW - 1);
        _assertBundleRefused(op, "AA32 paymaster expired or not due");
        vm.warp(NOW + 1);
        _assertLandsAndIsPaid(op, true);
    }

    function test_a_signature_lands_only_once() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        _assertLandsAndIsPaid(op, true);
        _assertBundleRefused(op, "AA25 invalid account nonce");
    }

    function test_withdrawing_the_deposit_stops_every_signature() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, DEPOSIT);
        _assertBundleRefused(op, "AA31 paymaster deposit too low");
    }

    function _assertLandsAndIsPaid(PackedUserOperation memory op, bool success) private {
        uint256 before = w.entryPoint.balanceOf(address(w.paymaster));
        uint256 received = BENEFICIARY.balance;
        vm.recordLogs();
        _handle(op);
        Outcome[] memory outcomes = _outcomes();
        vm.assertEq(outcomes.length, 1, _on("events"));
        vm.assertTrue(outcomes[0].success == success, _on("success"));
        vm.assertTrue(outcomes[0].cost != 0, _on("cost is zero"));
        vm.assertEq(before - w.entryPoint.balanceOf(address(w.paymaster)), outcomes[0].cost, _on("cost"));
        vm.assertEq(BENEFICIARY.balance - received, outcomes[0].cost, _on("received"));
    }

    /// @dev What the EntryPoint said since `recordLogs` about operations that our paymaster paid.
    function _outcomes() private returns (Outcome[] memory outcomes) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        outcomes = new Outcome[](logs.length);
        uint256 count;
        for (uint256 i = 0; i < logs.length; ++i) {
            Vm.Log memory log = logs[i];
            bool ours = log.emitter == address(w.entryPoint)
                && log.topics[0] == IEntryPointUnderTest.UserOperationEvent.selector
                && log.topics[3] == bytes32(uint256(uint160(address(w.paymaster))));
            if (!ours) continue;
            (, outcomes[count].success, outcomes[count].cost,) = abi.decode(log.data, (uint256, bool, uint256, uint256));
            ++count;
        }
        assembly ("memory-safe") {
            mstore(outcomes, count)
        }
    }
}
