// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../src/interfaces/PackedUserOperation.sol";
import {PaymasterTest} from "./PaymasterTest.sol";
import {IEntryPointUnderTest} from "./helpers/EntryPoints.sol";
import {TestAccountFactory} from "./helpers/TestAccount.sol";

/// @notice A bundler may encode `handleOps` in more than one way. Whatever it sends, the paymaster must see the one
///         canonical encoding, because validation hashes its calldata as it lies.
contract EncodingTest is PaymasterTest {
    uint256 private constant FIELDS = 4;
    uint256 private constant HEAD = 0x120;

    /// @dev An encoding of an operation that means the same as the canonical one.
    /// @param order The fields in the order in which their contents are written.
    /// @param gaps Bytes before each field's contents; the places need not be multiples of a word.
    /// @param dirt What fills gaps, padding, and the end.
    struct Layout {
        uint8[4] order;
        uint8[4] gaps;
        bytes1 dirt;
    }

    TestAccountFactory private _factory;

    function setUp() public override {
        super.setUp();
        _factory = new TestAccountFactory();
    }

    function test_the_encoding_of_these_tests_is_the_canonical_one_without_dirt() public onEveryEntryPoint {
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = _deployment(bytes32(0));
        bytes memory canonical = abi.encodeCall(IEntryPointUnderTest.handleOps, (ops, BENEFICIARY));
        Layout memory form = Layout([0, 1, 2, 3], [0, 0, 0, 0], 0x00);
        vm.assertEq(_handleOps(ops[0], form), canonical, _on("encoding"));
    }

    function testFuzz_any_encoding_arrives_as_the_canonical_one(uint256 seed, uint8[4] memory gaps, bytes1 dirt)
        public
        onEveryEntryPoint
    {
        PackedUserOperation memory op = _deployment(bytes32(seed));
        _expectCanonical(op);
        vm.prank(BUNDLER, BUNDLER);
        (bool done,) = address(w.entryPoint).call(_handleOps(op, Layout(_shuffled(seed), gaps, dirt)));
        vm.assertTrue(done, _on("refused"));
        vm.assertEq(counter.countOf(op.sender), 1, _on("calls"));
    }

    function test_fields_that_share_their_bytes_arrive_apart() public onEveryEntryPoint {
        PackedUserOperation memory op = _deployment(bytes32(0));
        op.signature = op.callData;
        bytes memory call = _handleOps(op, Layout([0, 1, 2, 3], [0, 0, 0, 0], 0x00));
        uint256 start = 4 + 4 * 32;
        _setWord(call, start + 8 * 32, _word(call, start + 3 * 32));

        _expectCanonical(op);
        vm.prank(BUNDLER, BUNDLER);
        (bool done,) = address(w.entryPoint).call(call);
        vm.assertTrue(done, _on("refused"));
    }

    function test_dirt_above_the_sender_is_refused() public onEveryEntryPoint {
        bytes memory call = _handleOps(_deployment(bytes32(0)), Layout([0, 1, 2, 3], [0, 0, 0, 0], 0x00));
        uint256 start = 4 + 4 * 32;
        _setWord(call, start, _word(call, start) | (1 << 160));
        vm.prank(BUNDLER, BUNDLER);
        (bool done,) = address(w.entryPoint).call(call);
        vm.assertTrue(!done, _on("a dirty address went through"));
    }

    function test_a_place_behind_the_end_is_refused() public onEveryEntryPoint {
        bytes memory canonical = _handleOps(_deployment(bytes32(0)), Layout([0, 1, 2, 3], [0, 0, 0, 0], 0x00));
        uint256[4] memory fields = [uint256(2), 3, 7, 8];
        for (uint256 i = 0; i < FIELDS; ++i) {
            bytes memory call = bytes.concat(canonical);
            _setWord(call, 4 + (4 + fields[i]) * 32, call.length);
            vm.prank(BUNDLER, BUNDLER);
            (bool done,) = address(w.entryPoint).call(call);
            vm.assertTrue(!done, _on("a place behind the end went through"));
        }
    }

    /// @dev A signed operation whose fields all end inside a word, so that all have padding.
    function _deployment(bytes32 salt) private view returns (PackedUserOperation memory op) {
        salt = keccak256(abi.encode(salt, w.paymaster));
        op = _operation();
        op.sender = _create2Address(address(_factory), salt);
        op.nonce = 0;
        bytes memory create = abi.encodeCall(TestAccountFactory.createAccount, (address(w.entryPoint), salt));
        op.initCode = abi.encodePacked(_factory, create);
        op.accountGasLimits = _pack(1_000_000, 100_000);
        op.signature = new bytes(65);
        return _signed(op, SIGNER_KEY);
    }

    function _expectCanonical(PackedUserOperation memory op) private {
        uint256 maxCost = (1_000_000 + 100_000 + 100_000 + 50_000) * 2 gwei;
        bytes32 hash = w.entryPoint.getUserOpHash(op);
        vm.expectCall(
            address(w.paymaster), abi.encodeCall(StipendPaymaster.validatePaymasterUserOp, (op, hash, maxCost))
        );
    }

    function _handleOps(PackedUserOperation memory op, Layout memory form) private pure returns (bytes memory) {
        bytes[FIELDS] memory fields = [op.initCode, op.callData, op.paymasterAndData, op.signature];
        uint256[FIELDS] memory places;
        bytes memory tail;
        for (uint256 i = 0; i < FIELDS; ++i) {
            uint8 field = form.order[i];
            tail = bytes.concat(tail, _dirt(form.gaps[i], form.dirt));
            places[field] = HEAD + tail.length;
            uint256 padding = (32 - fields[field].length % 32) % 32;
            tail = bytes.concat(tail, abi.encode(fields[field].length), fields[field], _dirt(padding, form.dirt));
        }
        bytes memory head = abi.encode(op.sender, op.nonce, places[0], places[1], op.accountGasLimits);
        head = bytes.concat(head, abi.encode(op.preVerificationGas, op.gasFees, places[2], places[3]));
        bytes memory list = abi.encode(0x40, BENEFICIARY, 1, 0x20);
        return bytes.concat(IEntryPointUnderTest.handleOps.selector, list, head, tail);
    }

    function _dirt(uint256 length, bytes1 dirt) private pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            data[i] = dirt;
        }
    }

    function _shuffled(uint256 seed) private pure returns (uint8[4] memory order) {
        order = [0, 1, 2, 3];
        for (uint256 i = FIELDS - 1; i > 0; --i) {
            uint256 j = uint256(keccak256(abi.encode(seed, i))) % (i + 1);
            (order[i], order[j]) = (order[j], order[i]);
        }
    }

    function _word(bytes memory data, uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), place))
        }
    }

    function _setWord(bytes memory data, uint256 place, uint256 word) private pure {
        assembly ("memory-safe") {
            mstore(add(add(data, 0x20), place), word)
        }
    }
}
