// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../src/interfaces/PackedUserOperation.sol";
import {PaymasterTest} from "./PaymasterTest.sol";

contract DigestTest is PaymasterTest {
    string private constant VECTORS = "contracts/test/vectors/sponsorship-digest.json";

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
        address place = vm.parseJsonAddress(json, string.concat(path, ".paymaster"));
        address signer = vm.parseJsonAddress(json, string.concat(path, ".signer"));
        address delegate = vm.parseJsonAddress(json, string.concat(path, ".delegate"));
        PackedUserOperation memory op = _vectorOperation(json, string.concat(path, ".op"));

        if (entryPoint.code.length == 0) vm.etch(entryPoint, hex"00");
        address[] memory signers = new address[](1);
        signers[0] = signer;
        vm.etch(place, address(new StipendPaymaster(entryPoint, OWNER, signers)).code);
        StipendPaymaster paymaster = StipendPaymaster(place);
        if (delegate != address(0)) vm.etch(op.sender, abi.encodePacked(hex"ef0100", delegate));

        vm.assertEq(paymaster.digest(op), vm.parseJsonBytes32(json, string.concat(path, ".digest")), name);
        vm.prank(entryPoint);
        (, uint256 validationData) = paymaster.validatePaymasterUserOp(op, bytes32(0), 0);
        vm.assertEq(uint160(validationData), 0, name);
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
            vm.eip712HashTypedData(_typedData(op, abi.encodePacked(first, second))),
            _on("digest")
        );
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
        vm.assertEq(w.paymaster.digest(op), vm.eip712HashTypedData(_typedData(op, op.paymasterAndData)), _on("digest"));
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

    function _typedData(PackedUserOperation memory op, bytes memory header) private view returns (string memory) {
        return string.concat(
            '{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},',
            '{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],"Sponsorship":[',
            '{"name":"entryPoint","type":"address"},{"name":"sender","type":"address"},',
            '{"name":"nonce","type":"uint256"},{"name":"initCode","type":"bytes"},',
            '{"name":"callData","type":"bytes"},{"name":"accountGasLimits","type":"bytes32"},',
            '{"name":"preVerificationGas","type":"uint256"},{"name":"gasFees","type":"bytes32"},',
            '{"name":"paymasterHeader","type":"bytes"}]},"primaryType":"Sponsorship",',
            '"domain":{"name":"Stipend","version":"1","chainId":31337,"verifyingContract":"',
            vm.toString(address(w.paymaster)),
            '"},"message":',
            _message(op, header),
            "}"
        );
    }

    function _message(PackedUserOperation memory op, bytes memory header) private view returns (string memory) {
        return string.concat(
            _field('{"entryPoint":"', vm.toString(address(w.entryPoint))),
            _field('"sender":"', vm.toString(op.sender)),
            _field('"nonce":"', vm.toString(op.nonce)),
            _field('"initCode":"', vm.toString(op.initCode)),
            _field('"callData":"', vm.toString(op.callData)),
            _field('"accountGasLimits":"', vm.toString(op.accountGasLimits)),
            _field('"preVerificationGas":"', vm.toString(op.preVerificationGas)),
            _field('"gasFees":"', vm.toString(op.gasFees)),
            '"paymasterHeader":"',
            vm.toString(header),
            '"}'
        );
    }

    function _field(string memory key, string memory value) private pure returns (string memory) {
        return string.concat(key, value, '",');
    }

    function _vector(uint256 index) private pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(index), "]");
    }
}
