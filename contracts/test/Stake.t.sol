// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PaymasterTest} from "./PaymasterTest.sol";
import {IEntryPointUnderTest} from "./helpers/EntryPoints.sol";

contract StakeTest is PaymasterTest {
    uint32 private constant DELAY = 1 days;

    function test_a_stake_goes_in_and_after_its_delay_out_again() public onEveryEntryPoint {
        vm.warp(NOW);
        vm.prank(OWNER);
        w.paymaster.addStake{value: 2 ether}(DELAY);
        IEntryPointUnderTest.DepositInfo memory info = w.entryPoint.getDepositInfo(address(w.paymaster));
        vm.assertEq(info.stake, 2 ether, _on("stake"));
        vm.assertEq(info.unstakeDelaySec, DELAY, _on("delay"));
        vm.assertEq(info.deposit, DEPOSIT, _on("deposit"));

        vm.prank(OWNER);
        w.paymaster.unlockStake();
        vm.warp(NOW + DELAY - 1);
        vm.expectRevert();
        vm.prank(OWNER);
        w.paymaster.withdrawStake(BENEFICIARY);

        vm.warp(NOW + DELAY);
        uint256 before = BENEFICIARY.balance;
        vm.prank(OWNER);
        w.paymaster.withdrawStake(BENEFICIARY);
        vm.assertEq(BENEFICIARY.balance - before, 2 ether, _on("paid out"));
    }

    function test_only_the_owner_may_add_stake() public onEveryEntryPoint {
        _expectNotOwner();
        w.paymaster.addStake{value: 1 ether}(DELAY);
    }

    function test_only_the_owner_may_unlock_the_stake() public onEveryEntryPoint {
        _expectNotOwner();
        w.paymaster.unlockStake();
    }

    function test_only_the_owner_may_withdraw_the_stake() public onEveryEntryPoint {
        _expectNotOwner();
        w.paymaster.withdrawStake(payable(STRANGER));
    }

    function _expectNotOwner() private {
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotOwner.selector, STRANGER, OWNER));
        vm.prank(STRANGER);
    }
}
