// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../src/interfaces/PackedUserOperation.sol";
import {PaymasterTest} from "./PaymasterTest.sol";
import {IEntryPointUnderTest} from "./helpers/EntryPoints.sol";

contract DigestTest is PaymasterTest {
    string private constant VECTORS = "contracts/test/vectors/sponsorship-digest.json";

    string private constant DOMAIN_FIELDS =
        '[{"name":"name","type":"string"},{"name":"version","type":"string"},{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}]';

    bytes20 private constant MARKER = bytes20(bytes2(0x7702));

    /// @notice The same file that the Rust crate `erc4337` writes and checks.
    function test_digests_and_signatures_of_the_vectors_file_agree() public {
        string memory json = vm.readFile(VECTORS);
        uint256 count;
        while (vm.keyExistsJson(json, _vector(count))) {
            _checkVector(json, _vector(count));
            ++count;
        }
        vm.assertTrue(count >= 10, "the vectors file is short");
    }

    function _checkVector(string memory json, string memory path) private {
        string memory name = vm.parseJsonString(json, string.concat(path, ".name"));
        vm.chainId(vm.parseJsonUint(json, string.concat(path, ".chainId")));
        address entryPoint = vm.parseJsonAddress(json, string.concat(path, ".entryPoint"));
        address delegate = vm.parseJsonAddress(json, string.concat(path, ".delegate"));
        PackedUserOperation memory op = _vectorOperation(json, string.concat(path, ".op"));

        if (entryPoint.code.length == 0) vm.etch(entryPoint, hex"00");
        if (delegate != address(0)) vm.etch(op.sender, abi.encodePacked(hex"ef0100", delegate));
        address[] memory signers = new address[](1);
        signers[0] = vm.parseJsonAddress(json, string.concat(path, ".signer"));
        address place = vm.parseJsonAddress(json, string.concat(path, ".paymaster"));
        StipendPaymaster paymaster = _deployAt(place, entryPoint, signers);

        bytes32 hash = vm.parseJsonBytes32(json, string.concat(path, ".userOpHash"));
        bool parallel = hash != bytes32(0);
        bytes32 digest = parallel ? paymaster.digestOfHash(hash) : paymaster.digest(op);
        vm.assertEq(digest, vm.parseJsonBytes32(json, string.concat(path, ".digest")), name);
        if (parallel) vm.assertEq(IEntryPointUnderTest(entryPoint).getUserOpHash(op), hash, name);
        vm.prank(entryPoint);
        (, uint256 validationData) = paymaster.validatePaymasterUserOp(op, hash, 0);
        vm.assertEq(uint160(validationData), 0, name);
        // The chain id and the delegation are of this vector alone.
        vm.chainId(CHAIN_ID);
        if (delegate != address(0)) vm.etch(op.sender, "");
    }

    function _vectorOperation(string memory json, string memory path)
        private
        pure
        returns (PackedUserOperation memory op)
    {
        op.sender = vm.parseJsonAddress(json, string.concat(path, ".sender"));
        op.nonce = uint256(vm.parseJsonBytes32(json, string.concat(path, ".nonce")));
        op.initCode = vm.parseJsonBytes(json, string.concat(path, ".initCode"));
        op.callData = vm.parseJsonBytes(json, string.concat(path, ".callData"));
        op.accountGasLimits = vm.parseJsonBytes32(json, string.concat(path, ".accountGasLimits"));
        op.preVerificationGas = uint256(vm.parseJsonBytes32(json, string.concat(path, ".preVerificationGas")));
        op.gasFees = vm.parseJsonBytes32(json, string.concat(path, ".gasFees"));
        op.paymasterAndData = vm.parseJsonBytes(json, string.concat(path, ".paymasterAndData"));
        op.signature = vm.parseJsonBytes(json, string.concat(path, ".signature"));
    }

    /// @notice Against the EIP-712 implementation that forge carries, which knows nothing of this contract.
    function testFuzz_digest_is_the_eip712_hash_of_the_sponsorship(
        PackedUserOperation memory op,
        bytes32 first,
        bytes32 second
    ) public onEveryEntryPoint {
        if (bytes20(op.initCode) == MARKER) op.initCode = "";
        op.paymasterAndData = abi.encodePacked(first, second, op.signature);
        vm.assertEq(
            w.paymaster.digest(op),
            vm.eip712HashTypedData(_typedData(_operationBytes(op, abi.encodePacked(first, second)))),
            _on("digest")
        );
    }

    function testFuzz_digest_of_hash_is_the_eip712_hash_of_the_parallel_sponsorship(bytes32 hash)
        public
        onEveryEntryPoint
    {
        string memory json = string.concat(
            '{"types":{"EIP712Domain":',
            DOMAIN_FIELDS,
            ',"ParallelSponsorship":[{"name":"userOpHash","type":"bytes32"}]},"primaryType":"ParallelSponsorship",',
            _domain(),
            ',"message":{"userOpHash":"',
            vm.toString(hash),
            '"}}'
        );
        vm.assertEq(w.paymaster.digestOfHash(hash), vm.eip712HashTypedData(json), _on("digest"));
    }

    /// @notice Validation does not call `digest`: it hashes the calldata as it lies. A signature of the one that the other
    ///         takes is the proof that both are the same.
    function testFuzz_validation_computes_the_same_digest(PackedUserOperation memory op, bytes32 first, bytes32 second)
        public
        onEveryEntryPoint
    {
        op.paymasterAndData = abi.encodePacked(first, second);
        _assertAccepted(_signed(op, SIGNER_KEY));
    }

    function test_validation_computes_the_same_digest_for_all_lengths() public onEveryEntryPoint {
        PackedUserOperation memory op = _operation();
        for (uint256 i = 0; i < 66; ++i) {
            op.initCode = new bytes(i);
            op.callData = _bytes(i * 31 % 67);
            op.signature = _bytes(i * 37 % 71);
            _assertAccepted(_signed(op, SIGNER_KEY));
            op.initCode = _bytes(i);
            _assertAccepted(_signed(op, SIGNER_KEY));
        }
    }

    function testFuzz_neither_signature_is_covered(bytes memory users, bytes memory paymasters)
        public
        onEveryEntryPoint
    {
        PackedUserOperation memory op = _operation();
        bytes32 digest = w.paymaster.digest(op);
        op.signature = users;
        vm.assertEq(w.paymaster.digest(_withSignature(op, paymasters)), digest, _on("digest"));
    }

    function test_the_marker_in_any_length_gives_the_digest_of_the_delegate() public onEveryEntryPoint {
        PackedUserOperation memory op = _delegated();
        op.initCode = abi.encodePacked(w.account);
        bytes32 expected = w.paymaster.digest(op);
        for (uint256 length = 2; length <= 20; ++length) {
            bytes memory marker = abi.encodePacked(MARKER);
            assembly ("memory-safe") {
                mstore(marker, length)
            }
            op.initCode = marker;
            vm.assertEq(w.paymaster.digest(op), expected, _on("digest"));
        }
    }

    function testFuzz_data_behind_the_marker_is_covered(bytes memory data) public onEveryEntryPoint {
        PackedUserOperation memory op = _delegated();
        op.initCode = abi.encodePacked(w.account, data);
        bytes32 expected = w.paymaster.digest(op);
        op.initCode = abi.encodePacked(MARKER, data);
        vm.assertEq(w.paymaster.digest(op), expected, _on("digest"));
    }

    function test_another_delegate_gives_another_digest() public onEveryEntryPoint {
        PackedUserOperation memory op = _delegated();
        op.initCode = hex"7702";
        bytes32 digest = w.paymaster.digest(op);
        vm.etch(op.sender, abi.encodePacked(hex"ef0100", STRANGER));
        vm.assertNotEq(w.paymaster.digest(op), digest, _on("digest"));
    }

    function test_a_factory_that_only_begins_like_the_marker_is_no_marker() public onEveryEntryPoint {
        PackedUserOperation memory op = _delegated();
        op.initCode = abi.encodePacked(hex"7702", bytes18(uint144(1)));
        bytes32 expected = vm.eip712HashTypedData(_typedData(_operationBytes(op, op.paymasterAndData)));
        vm.assertEq(w.paymaster.digest(op), expected, _on("digest"));
    }

    function test_a_marker_without_a_delegation_stands_for_the_zero_address() public onEveryEntryPoint {
        PackedUserOperation memory op = _operation();
        op.initCode = hex"7702";
        bytes32 digest = w.paymaster.digest(op);
        op.initCode = abi.encodePacked(address(0));
        vm.assertEq(w.paymaster.digest(op), digest, _on("digest"));
    }

    function test_too_short_paymaster_data_has_no_digest() public onEveryEntryPoint {
        PackedUserOperation memory op = _operation();
        op.paymasterAndData = new bytes(63);
        vm.expectRevert();
        w.paymaster.digest(op);
    }

    /// @dev An operation of an account that has delegated its code to the world's account.
    function _delegated() private returns (PackedUserOperation memory op) {
        op = _operation();
        op.sender = STRANGER;
        vm.etch(STRANGER, abi.encodePacked(hex"ef0100", w.account));
    }

    /// @dev What `operation` is, put together by hand: nine words, then each field with its length, padded; of the last
    ///      only the header.
    function _operationBytes(PackedUserOperation memory op, bytes memory header) private pure returns (bytes memory) {
        uint256 callData = 0x140 + _padded(op.initCode).length;
        uint256 paymasterAndData = callData + 0x20 + _padded(op.callData).length;
        bytes memory words = abi.encode(op.sender, op.nonce, 0x120, callData, op.accountGasLimits);
        words = bytes.concat(words, abi.encode(op.preVerificationGas, op.gasFees));
        words = bytes.concat(words, abi.encode(paymasterAndData, paymasterAndData + 0x20 + 128));
        words = bytes.concat(words, abi.encode(op.initCode.length), _padded(op.initCode));
        words = bytes.concat(words, abi.encode(op.callData.length), _padded(op.callData));
        return bytes.concat(words, abi.encode(128), header);
    }

    function _padded(bytes memory data) private pure returns (bytes memory) {
        return bytes.concat(data, new bytes((32 - data.length % 32) % 32));
    }

    function _bytes(uint256 length) private pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            data[i] = bytes1(uint8(i + 1));
        }
    }

    function _typedData(bytes memory operation) private view returns (string memory) {
        return string.concat(
            '{"types":{"EIP712Domain":',
            DOMAIN_FIELDS,
            ',"Sponsorship":[{"name":"entryPoint","type":"address"},{"name":"operation","type":"bytes"}]},',
            '"primaryType":"Sponsorship",',
            _domain(),
            ',"message":{"entryPoint":"',
            vm.toString(address(w.entryPoint)),
            '","operation":"',
            vm.toString(operation),
            '"}}'
        );
    }

    function _domain() private view returns (string memory) {
        return string.concat(
            '"domain":{"name":"Stipend","version":"1","chainId":31337,"verifyingContract":"',
            vm.toString(address(w.paymaster)),
            '"}'
        );
    }

    function _vector(uint256 index) private pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(index), "]");
    }
}
