// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PaymasterTest} from "./PaymasterTest.sol";
import {EntryPoints} from "./helpers/EntryPoints.sol";

contract ConstructorTest is PaymasterTest {
    function test_arguments_are_kept() public onEveryEntryPoint {
        vm.assertEq(address(w.paymaster.entryPoint()), address(w.entryPoint), "entryPoint");
        vm.assertEq(w.paymaster.owner(), OWNER, "owner");
        vm.assertEq(w.paymaster.pendingOwner(), address(0), "pendingOwner");
        vm.assertEq(w.paymaster.depositGuardian(), GUARDIAN, "depositGuardian");
        vm.assertEq(w.paymaster.vault(), VAULT, "vault");
    }

    function test_one_to_four_signers_are_listed_in_order() public {
        for (uint256 count = 1; count <= 4; ++count) {
            address[] memory given = _signers(count);
            StipendPaymaster paymaster = new StipendPaymaster(EntryPoints.V07, OWNER, given, GUARDIAN, VAULT);
            vm.assertEq(paymaster.getSigners(), given, "signers");
            for (uint256 i = 0; i < 4; ++i) {
                vm.assertTrue(paymaster.isSigner(_signer(i)) == (i < count), "isSigner");
            }
        }
    }

    function test_the_zero_address_is_never_a_signer() public {
        for (uint256 count = 1; count <= 4; ++count) {
            StipendPaymaster paymaster = new StipendPaymaster(EntryPoints.V07, OWNER, _signers(count), GUARDIAN, VAULT);
            vm.assertTrue(!paymaster.isSigner(address(0)), "zero is a signer");
        }
    }

    function test_no_signers_are_refused() public {
        _assertRefusedWith(_signers(0), abi.encodeWithSelector(StipendPaymaster.SignerCountOutOfRange.selector, 0, 4));
    }

    function test_five_signers_are_refused() public {
        _assertRefusedWith(_signers(5), abi.encodeWithSelector(StipendPaymaster.SignerCountOutOfRange.selector, 5, 4));
    }

    function test_a_zero_signer_is_refused_in_every_place() public {
        for (uint256 i = 0; i < 4; ++i) {
            address[] memory list = _signers(4);
            list[i] = address(0);
            _assertRefusedWith(list, abi.encodeWithSelector(StipendPaymaster.ZeroSigner.selector, i));
        }
    }

    function test_a_repeated_signer_is_refused_in_every_pair_of_places() public {
        for (uint256 i = 0; i < 4; ++i) {
            for (uint256 j = 0; j < i; ++j) {
                address[] memory list = _signers(4);
                list[i] = list[j];
                _assertRefusedWith(
                    list, abi.encodeWithSelector(StipendPaymaster.RepeatedSigner.selector, list[i], j, i)
                );
            }
        }
    }

    function test_a_zero_owner_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.ZeroOwner.selector));
        new StipendPaymaster(EntryPoints.V07, address(0), _signers(1), GUARDIAN, VAULT);
    }

    function test_an_entry_point_without_code_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.EntryPointWithoutCode.selector, STRANGER));
        new StipendPaymaster(STRANGER, OWNER, _signers(1), GUARDIAN, VAULT);
    }

    function test_a_zero_guardian_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.ZeroGuardian.selector));
        new StipendPaymaster(EntryPoints.V07, OWNER, _signers(1), address(0), VAULT);
    }

    function test_a_vault_that_cannot_be_paid_is_refused() public {
        address payable[2] memory vaults = [payable(address(0)), payable(EntryPoints.V07)];
        for (uint256 i = 0; i < vaults.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(StipendPaymaster.UnusableVault.selector, vaults[i]));
            new StipendPaymaster(EntryPoints.V07, OWNER, _signers(1), GUARDIAN, vaults[i]);
        }
    }

    function test_the_paymaster_is_not_its_own_vault() public {
        address place = address(0x9A57E2);
        vm.etch(
            place,
            bytes.concat(
                type(StipendPaymaster).creationCode, abi.encode(EntryPoints.V07, OWNER, _signers(1), GUARDIAN, place)
            )
        );
        (bool done, bytes memory answer) = place.call("");
        vm.assertTrue(!done, "deployed");
        vm.assertEq(answer, abi.encodeWithSelector(StipendPaymaster.UnusableVault.selector, place), "answer");
    }

    function _assertRefusedWith(address[] memory list, bytes memory reason) private {
        vm.expectRevert(reason);
        new StipendPaymaster(EntryPoints.V07, OWNER, list, GUARDIAN, VAULT);
    }

    function _signers(uint256 count) private pure returns (address[] memory list) {
        list = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = _signer(i);
        }
    }

    function _signer(uint256 index) private pure returns (address) {
        return vm.addr(index + 1);
    }
}
