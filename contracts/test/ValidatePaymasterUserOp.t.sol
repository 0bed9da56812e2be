// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../src/interfaces/PackedUserOperation.sol";
import {PaymasterTest} from "./PaymasterTest.sol";

contract ValidatePaymasterUserOpTest is PaymasterTest {
    uint256 private constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    function test_what_a_signer_signed_is_accepted() public onEveryEntryPoint {
        _assertAccepted(_sponsored());
    }

    function test_every_signer_is_accepted() public onEveryEntryPoint {
        _assertAccepted(_signed(_operation(), STANDBY_KEY));
    }

    function test_the_window_is_handed_on() public onEveryEntryPoint {
        PackedUserOperation memory op = _operation();
        op.paymasterAndData = _header(address(w.paymaster), 100_000, 0, NOW - 7, NOW + 13);
        uint256 window = uint256(NOW - 7) << 208 | uint256(NOW + 13) << 160;
        vm.assertEq(_validate(_signed(op, SIGNER_KEY)), window, _on("signed"));
        vm.assertEq(_validate(_signed(op, STRANGER_KEY)), window | SIG_VALIDATION_FAILED, _on("not signed"));
    }

    function test_only_the_entry_point_may_ask() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        vm.expectRevert(
            abi.encodeWithSelector(StipendPaymaster.CallerNotEntryPoint.selector, STRANGER, address(w.entryPoint))
        );
        vm.prank(STRANGER);
        w.paymaster.validatePaymasterUserOp(op, bytes32(0), 0);
    }

    function test_validation_touches_no_storage() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        vm.record();
        _assertAccepted(op);
        (bytes32[] memory reads, bytes32[] memory writes) = vm.accesses(address(w.paymaster));
        vm.assertEq(reads.length + writes.length, 0, _on("storage accesses"));
    }

    function test_the_users_signature_is_no_part_of_it() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.signature = "signed by the user after the paymaster";
        _assertAccepted(op);
    }

    function test_a_strangers_signature_is_refused() public onEveryEntryPoint {
        _assertRefused(_signed(_operation(), STRANGER_KEY));
    }

    function test_the_owners_signature_is_refused() public onEveryEntryPoint {
        vm.prank(OWNER);
        w.paymaster.transferOwnership(vm.addr(STRANGER_KEY));
        vm.prank(vm.addr(STRANGER_KEY));
        w.paymaster.acceptOwnership();
        _assertRefused(_signed(_operation(), STRANGER_KEY));
    }

    function test_signatures_that_nobody_can_have_made_are_refused() public onEveryEntryPoint {
        bytes32 one = bytes32(uint256(1));
        PackedUserOperation memory op = _operation();
        _assertRefused(_withSignature(op, new bytes(64)));
        _assertRefused(_withSignature(op, abi.encode(bytes32(0), one)));
        _assertRefused(_withSignature(op, abi.encode(one, bytes32(0))));
        _assertRefused(_withSignature(op, abi.encode(CURVE_ORDER, one)));
        _assertRefused(_withSignature(op, abi.encode(type(uint256).max, type(uint256).max)));
    }

    function test_a_flipped_parity_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.paymasterAndData[96] ^= 0x80;
        _assertRefused(op);
    }

    function test_any_other_length_is_refused() public onEveryEntryPoint {
        bytes memory whole = _sponsored().paymasterAndData;
        PackedUserOperation memory op = _operation();
        for (uint256 length = 0; length < 200; ++length) {
            if (length == 128 || length == 138) continue;
            op.paymasterAndData = _resized(whole, length);
            vm.assertEq(_validate(op), SIG_VALIDATION_FAILED, _on("answer to another length"));
        }
    }

    function test_a_changed_sender_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.sender = STRANGER;
        _assertRefused(op);
    }

    function test_a_changed_nonce_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        ++op.nonce;
        _assertRefused(op);
    }

    function test_a_changed_init_code_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.initCode = abi.encodePacked(STRANGER);
        _assertRefused(op);
    }

    function test_a_changed_call_data_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.callData[0] ^= 0x01;
        _assertRefused(op);
    }

    function test_a_raised_verification_gas_limit_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.accountGasLimits = _pack(150_001, 100_000);
        _assertRefused(op);
    }

    function test_a_raised_call_gas_limit_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.accountGasLimits = _pack(150_000, 100_001);
        _assertRefused(op);
    }

    function test_a_raised_pre_verification_gas_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        ++op.preVerificationGas;
        _assertRefused(op);
    }

    function test_a_raised_priority_fee_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.gasFees = _pack(1 gwei + 1, 2 gwei);
        _assertRefused(op);
    }

    function test_a_raised_max_fee_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.gasFees = _pack(1 gwei, 2 gwei + 1);
        _assertRefused(op);
    }

    function test_a_changed_paymaster_address_is_refused() public onEveryEntryPoint {
        _assertHeaderRefused(_header(STRANGER, 100_000, 0, 0, NOW + 600));
    }

    function test_a_raised_paymaster_verification_gas_limit_is_refused() public onEveryEntryPoint {
        _assertHeaderRefused(_header(address(w.paymaster), 100_001, 0, 0, NOW + 600));
    }

    function test_a_raised_post_op_gas_limit_is_refused() public onEveryEntryPoint {
        _assertHeaderRefused(_header(address(w.paymaster), 100_000, 10_000_000, 0, NOW + 600));
    }

    function test_a_changed_valid_after_is_refused() public onEveryEntryPoint {
        _assertHeaderRefused(_header(address(w.paymaster), 100_000, 0, 1, NOW + 600));
    }

    function test_a_later_valid_until_is_refused() public onEveryEntryPoint {
        _assertHeaderRefused(_header(address(w.paymaster), 100_000, 0, 0, NOW + 601));
    }

    function test_an_endless_window_is_refused() public onEveryEntryPoint {
        _assertHeaderRefused(_header(address(w.paymaster), 100_000, 0, 0, 0));
    }

    function test_a_signature_for_another_chain_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        vm.chainId(CHAIN_ID + 1);
        _assertRefused(op);
        vm.chainId(CHAIN_ID);
        _assertAccepted(op);
    }

    function test_a_signature_for_another_paymaster_is_refused() public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        w.paymaster = _paymaster(address(w.entryPoint));
        _assertRefused(op);
    }

    function test_a_signature_for_another_entry_point_is_refused() public {
        address place = address(0x9A57E2);
        address[] memory signers = _two(vm.addr(SIGNER_KEY), vm.addr(STANDBY_KEY));
        PackedUserOperation memory op;
        for (uint256 i = 0; i < 3; ++i) {
            w = worlds[i];
            w.paymaster = _deployAt(place, address(w.entryPoint), signers);
            if (i == 0) op = _sponsored();
            else _assertRefused(op);
        }
    }

    function test_a_signature_of_one_form_is_refused_in_the_other() public {
        for (uint256 i = 0; i < 3; ++i) {
            w = worlds[i];
            PackedUserOperation memory op = _sponsored();
            op.paymasterAndData = bytes.concat(op.paymasterAndData, PARALLEL_SUFFIX);
            _assertRefused(op);
        }
        w = worlds[3];
        PackedUserOperation memory parallel = _sponsored();
        parallel.paymasterAndData = _resized(parallel.paymasterAndData, 128);
        _assertRefused(parallel);
    }

    function test_the_bare_user_op_hash_is_not_what_is_signed() public {
        w = worlds[3];
        PackedUserOperation memory op = _withSignature(_operation(), new bytes(64));
        (bytes32 r, bytes32 vs) = vm.signCompact(SIGNER_KEY, _userOpHash(op));
        _assertRefused(_withSignature(op, abi.encodePacked(r, vs)));
    }

    function test_any_other_suffix_is_refused() public {
        w = worlds[3];
        PackedUserOperation memory op = _sponsored();
        bytes memory whole = op.paymasterAndData;
        for (uint256 i = 128; i < 138; ++i) {
            op.paymasterAndData = bytes.concat(whole);
            op.paymasterAndData[i] ^= 0x01;
            _assertRefused(op);
        }
    }

    function testFuzz_random_signatures_are_refused(bytes32 r, bytes32 yParityAndS) public onEveryEntryPoint {
        _assertRefused(_withSignature(_operation(), abi.encode(r, yParityAndS)));
    }

    /// @notice ecrecover returns nothing for these: the zero address is what Solidity makes of that.
    function testFuzz_unrecoverable_signatures_are_refused(bytes32 r, bytes32 yParityAndS, uint8 kind)
        public
        onEveryEntryPoint
    {
        if (kind % 4 == 0) r = bytes32(0);
        if (kind % 4 == 1) r = bytes32(CURVE_ORDER + uint256(r) % (type(uint256).max - CURVE_ORDER));
        if (kind % 4 == 2) yParityAndS &= bytes32(uint256(1) << 255);
        PackedUserOperation memory op = _withSignature(_operation(), new bytes(64));
        bytes32 digest = w.parallel ? w.paymaster.digestOfHash(_userOpHash(op)) : w.paymaster.digest(op);
        // Half of all numbers are no point of the curve.
        while (ecrecover(digest, _v(yParityAndS), r, _s(yParityAndS)) != address(0)) {
            r = keccak256(abi.encode(r));
        }
        _assertRefused(_withSignature(op, abi.encode(r, yParityAndS)));
    }

    /// @notice When ecrecover returns nothing, the word where its answer would be still holds what was hashed before. A
    ///         paymaster whose signer's address happens to stand there must not take it for the answer.
    function test_what_an_empty_answer_leaves_in_memory_is_no_signer() public onEveryEntryPoint {
        address place = address(0x9A57E3);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Stipend"),
                keccak256("1"),
                block.chainid,
                place
            )
        );
        address left = address(uint160(uint256(bytes32(abi.encodePacked(hex"1901", domain)))));
        w.paymaster = _deployAt(place, address(w.entryPoint), _two(left, vm.addr(STANDBY_KEY)));
        _assertAccepted(_signed(_operation(), STANDBY_KEY));
        _assertRefused(_withSignature(_operation(), new bytes(64)));
    }

    function testFuzz_any_flipped_bit_of_paymaster_data_is_refused(uint256 bit) public onEveryEntryPoint {
        PackedUserOperation memory op = _sponsored();
        op.paymasterAndData[bit / 8 % op.paymasterAndData.length] ^= bytes1(uint8(1) << uint8(bit % 8));
        _assertRefused(op);
    }

    function testFuzz_answers_are_96_bytes_whatever_the_paymaster_data(bytes memory data) public onEveryEntryPoint {
        PackedUserOperation memory op = _operation();
        op.paymasterAndData = data;
        _assertRefused(op);
    }

    function testFuzz_an_operation_is_accepted_when_signed_and_refused_when_not(PackedUserOperation memory op)
        public
        onEveryEntryPoint
    {
        op.paymasterAndData = _header(address(w.paymaster), 100_000, 0, 0, NOW + 600);
        _assertAccepted(_signed(op, SIGNER_KEY));
        _assertRefused(_signed(op, STRANGER_KEY));
    }

    function _v(bytes32 yParityAndS) private pure returns (uint8) {
        return 27 + uint8(uint256(yParityAndS) >> 255);
    }

    function _s(bytes32 yParityAndS) private pure returns (bytes32) {
        return yParityAndS << 1 >> 1;
    }

    function _assertHeaderRefused(bytes memory header) private {
        bytes memory whole = _sponsored().paymasterAndData;
        for (uint256 i = 0; i < 64; ++i) {
            whole[i] = header[i];
        }
        PackedUserOperation memory op = _operation();
        op.paymasterAndData = whole;
        _assertRefused(op);
    }

    function _resized(bytes memory data, uint256 length) private pure returns (bytes memory resized) {
        resized = new bytes(length);
        for (uint256 i = 0; i < length && i < data.length; ++i) {
            resized[i] = data[i];
        }
    }
}
