// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PaymasterTest} from "./PaymasterTest.sol";

contract DepositTest is PaymasterTest {
    function test_anyone_may_deposit() public onEveryEntryPoint {
        vm.prank(STRANGER);
        w.paymaster.deposit{value: 3 ether}();
        vm.assertEq(w.entryPoint.balanceOf(address(w.paymaster)), DEPOSIT + 3 ether, _on("deposit"));
        vm.assertEq(address(w.paymaster).balance, 0, _on("ether left in the paymaster"));
    }

    function test_the_owner_may_withdraw_to_anyone() public onEveryEntryPoint {
        uint256 before = BENEFICIARY.balance;
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, 4 ether);
        vm.assertEq(BENEFICIARY.balance - before, 4 ether, _on("paid out"));
        vm.assertEq(w.entryPoint.balanceOf(address(w.paymaster)), DEPOSIT - 4 ether, _on("deposit"));
    }

    function test_nobody_else_may_withdraw() public onEveryEntryPoint {
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotOwner.selector, STRANGER, OWNER));
        vm.prank(STRANGER);
        w.paymaster.withdraw(payable(STRANGER), 1);
    }

    function test_a_signer_may_not_withdraw() public onEveryEntryPoint {
        address signer = vm.addr(SIGNER_KEY);
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotOwner.selector, signer, OWNER));
        vm.prank(signer);
        w.paymaster.withdraw(payable(signer), 1);
    }

    function test_more_than_the_deposit_cannot_be_withdrawn() public onEveryEntryPoint {
        vm.expectRevert();
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, DEPOSIT + 1);
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, DEPOSIT);
        vm.assertEq(w.entryPoint.balanceOf(address(w.paymaster)), 0, _on("deposit"));
    }

    function test_an_operation_charged_in_between_does_not_stop_the_owner_from_taking_everything()
        public
        onEveryEntryPoint
    {
        uint256 before = BENEFICIARY.balance;
        uint256 read = w.entryPoint.balanceOf(address(w.paymaster));
        _handle(_sponsored());
        uint256 left = w.entryPoint.balanceOf(address(w.paymaster));
        uint256 earned = BENEFICIARY.balance - before;
        vm.assertTrue(left < read, _on("nothing was charged"));

        vm.expectRevert();
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, read);

        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, type(uint256).max);
        vm.assertEq(BENEFICIARY.balance - before, left + earned, _on("paid out"));
        vm.assertEq(w.entryPoint.balanceOf(address(w.paymaster)), 0, _on("deposit"));
    }

    function test_everything_of_an_empty_deposit_is_nothing() public onEveryEntryPoint {
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, DEPOSIT);
        uint256 before = BENEFICIARY.balance;
        vm.prank(OWNER);
        w.paymaster.withdraw(BENEFICIARY, type(uint256).max);
        vm.assertEq(BENEFICIARY.balance, before, _on("paid out"));
    }

    function test_nobody_but_the_owner_takes_everything() public onEveryEntryPoint {
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotOwner.selector, GUARDIAN, OWNER));
        vm.prank(GUARDIAN);
        w.paymaster.withdraw(payable(GUARDIAN), type(uint256).max);
    }

    function test_plain_ether_is_not_accepted() public onEveryEntryPoint {
        vm.prank(STRANGER);
        (bool accepted,) = address(w.paymaster).call{value: 1 ether}("");
        vm.assertTrue(!accepted, _on("ether outside the deposit would be stuck"));
    }

    function test_the_guardian_moves_the_whole_deposit_to_the_vault() public onEveryEntryPoint {
        uint256 before = VAULT.balance;
        vm.prank(GUARDIAN);
        w.paymaster.moveDepositToVault();
        vm.assertEq(VAULT.balance - before, DEPOSIT, _on("paid out"));
        vm.assertEq(w.entryPoint.balanceOf(address(w.paymaster)), 0, _on("deposit"));
    }

    function test_nobody_else_moves_the_deposit_to_the_vault() public onEveryEntryPoint {
        address[3] memory others = [STRANGER, OWNER, vm.addr(SIGNER_KEY)];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotGuardian.selector, others[i], GUARDIAN));
            vm.prank(others[i]);
            w.paymaster.moveDepositToVault();
        }
    }

    function test_the_guardian_may_do_nothing_else() public onEveryEntryPoint {
        bytes[5] memory calls = [
            abi.encodeCall(StipendPaymaster.withdraw, (payable(GUARDIAN), 1)),
            abi.encodeCall(StipendPaymaster.addStake, (1)),
            abi.encodeCall(StipendPaymaster.unlockStake, ()),
            abi.encodeCall(StipendPaymaster.withdrawStake, (payable(GUARDIAN))),
            abi.encodeCall(StipendPaymaster.transferOwnership, (GUARDIAN))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(GUARDIAN);
            (bool done, bytes memory answer) = address(w.paymaster).call(calls[i]);
            vm.assertTrue(!done, _on("the guardian was obeyed"));
            vm.assertEq(
                answer, abi.encodeWithSelector(StipendPaymaster.CallerNotOwner.selector, GUARDIAN, OWNER), _on("answer")
            );
        }
    }
}
