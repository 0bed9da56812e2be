// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PaymasterTest} from "./PaymasterTest.sol";

contract OwnershipTest is PaymasterTest {
    function test_an_offer_changes_nothing_until_it_is_accepted() public onEveryEntryPoint {
        vm.prank(OWNER);
        w.paymaster.transferOwnership(STRANGER);
        vm.assertEq(w.paymaster.owner(), OWNER, _on("owner"));
        vm.assertEq(w.paymaster.pendingOwner(), STRANGER, _on("pendingOwner"));

        vm.prank(STRANGER);
        w.paymaster.acceptOwnership();
        vm.assertEq(w.paymaster.owner(), STRANGER, _on("owner"));
        vm.assertEq(w.paymaster.pendingOwner(), address(0), _on("pendingOwner"));
    }

    function test_the_former_owner_has_no_say() public onEveryEntryPoint {
        vm.prank(OWNER);
        w.paymaster.transferOwnership(STRANGER);
        vm.prank(STRANGER);
        w.paymaster.acceptOwnership();

        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotOwner.selector, OWNER, STRANGER));
        vm.prank(OWNER);
        w.paymaster.withdraw(payable(OWNER), 1);
    }

    function test_only_the_owner_may_offer() public onEveryEntryPoint {
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotOwner.selector, STRANGER, OWNER));
        vm.prank(STRANGER);
        w.paymaster.transferOwnership(STRANGER);
    }

    function test_only_the_pending_owner_may_accept() public onEveryEntryPoint {
        vm.prank(OWNER);
        w.paymaster.transferOwnership(BUNDLER);
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotPendingOwner.selector, STRANGER, BUNDLER));
        vm.prank(STRANGER);
        w.paymaster.acceptOwnership();
    }

    function test_an_offer_can_be_taken_back() public onEveryEntryPoint {
        vm.prank(OWNER);
        w.paymaster.transferOwnership(STRANGER);
        vm.prank(OWNER);
        w.paymaster.transferOwnership(address(0));
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.CallerNotPendingOwner.selector, STRANGER, address(0)));
        vm.prank(STRANGER);
        w.paymaster.acceptOwnership();
    }
}
