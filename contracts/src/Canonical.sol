// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PackedUserOperation} from "./interfaces/PackedUserOperation.sol";

/// @title The fast path of validation: reads and hashes an operation where it lies in the calldata.
///
/// @notice Sound for the calldata of an EntryPoint only. Every EntryPoint re-encodes an operation before it asks the
///         paymaster: the fields stand in their order, without gaps, padded with zeros. Anybody else could leave dirt in
///         the gaps or let two fields share their bytes, so whoever uses this has to check the caller first.
///
/// @dev    Nothing here is checked against the end of the calldata, for the same reason. All functions are internal, and
///         each is used once, so that the compiler puts them in line.
library Canonical {
    /// @notice header(64) ‖ signature(64).
    uint256 internal constant SEQUENTIAL_LENGTH = 128;

    /// @notice header(64) ‖ signature(64) ‖ the signature's length(2) ‖ magic(8).
    uint256 internal constant PARALLEL_LENGTH = 138;

    /// @notice The first 20 bytes of `initCode` of an EIP-7702 account, padded with zeros when `initCode` is shorter
    ///         (https://eips.ethereum.org/EIPS/eip-4337#support-for-eip-7702-authorizations).
    uint256 internal constant EIP7702_MARKER = 0x007702000000000000000000000000000000000000;

    /// @dev What EntryPoint v0.9 finds a paymaster's signature by, and leaves out of its hash together with the
    ///      signature: its length and the magic (https://eips.ethereum.org/EIPS/eip-4337#useroperation).
    uint256 private constant PARALLEL_SUFFIX = 0x004022e325a297439656;

    // Counted from the first word of the operation: nine words, then the length and the contents of initCode.
    uint256 private constant PAYMASTER_AND_DATA_FIELD = 0xe0;
    uint256 private constant INIT_CODE_CONTENTS = 0x140;

    // Counted from the first byte of paymasterAndData.
    uint256 private constant WINDOW = 52;
    uint256 private constant HEADER_LENGTH = 64;
    uint256 private constant SIGNATURE_R = 64;
    uint256 private constant SIGNATURE_Y_PARITY_AND_S = 96;

    /// @dev The address of the precompile (Ethereum yellow paper, appendix E.1).
    uint256 private constant ECRECOVER = 1;

    /// @notice Where in the calldata the contents of `op.paymasterAndData` begin, and how many bytes they are.
    function paymasterAndData(PackedUserOperation calldata op) internal pure returns (uint256 header, uint256 length) {
        assembly ("memory-safe") {
            header := add(op, calldataload(add(op, PAYMASTER_AND_DATA_FIELD)))
            length := calldataload(header)
            header := add(header, 0x20)
        }
    }

    /// @notice Whether `op.initCode` begins with the marker.
    /// @dev    Of an empty one this reads the length of the next field, which is too small to look like the marker.
    function hasEip7702Marker(PackedUserOperation calldata op) internal pure returns (bool found) {
        assembly ("memory-safe") {
            found := eq(shr(96, calldataload(add(op, INIT_CODE_CONTENTS))), EIP7702_MARKER)
        }
    }

    /// @notice Whether `paymasterAndData`, `length` bytes at `header`, is of the parallel form.
    function endsInPaymasterSignature(uint256 header, uint256 length) internal pure returns (bool found) {
        assembly ("memory-safe") {
            let suffix := shr(176, calldataload(add(header, SEQUENTIAL_LENGTH)))
            found := and(eq(length, PARALLEL_LENGTH), eq(suffix, PARALLEL_SUFFIX))
        }
    }

    /// @notice validAfter(6) ‖ validUntil(6) ‖ zeros(20).
    function window(uint256 header) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := shl(160, shr(160, calldataload(add(header, WINDOW))))
        }
    }

    /// @notice The hash of the operation's encoding, from its first word to the end of the header.
    function hashOperation(PackedUserOperation calldata op, uint256 header) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            let length := sub(add(header, HEADER_LENGTH), op)
            calldatacopy(free, op, length)
            result := keccak256(free, length)
        }
    }

    /// @notice The hash of three words.
    function hash(bytes32 first, address second, bytes32 third) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, first)
            mstore(add(free, 0x20), second)
            mstore(add(free, 0x40), third)
            result := keccak256(free, 0x60)
        }
    }

    /// @notice The hash of two words.
    function hash(bytes32 first, bytes32 second) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            mstore(0x00, first)
            mstore(0x20, second)
            result := keccak256(0x00, 0x40)
        }
    }

    /// @notice https://eips.ethereum.org/EIPS/eip-712#specification
    function hashTypedData(bytes32 domain, bytes32 structHash) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            mstore(0x00, hex"1901")
            mstore(0x02, domain)
            mstore(0x22, structHash)
            result := keccak256(0x00, 0x42)
            // The last two bytes went into the upper end of the free memory pointer, which is zero.
            mstore(0x22, 0)
        }
    }

    /// @notice Who made the signature behind the header (https://eips.ethereum.org/EIPS/eip-2098), or zero when nobody
    ///         can have.
    /// @dev    In that case the precompile returns nothing, and what lies in memory must not be taken for its answer.
    function recover(bytes32 digest, uint256 header) internal view returns (address signer) {
        assembly ("memory-safe") {
            let yParityAndS := calldataload(add(header, SIGNATURE_Y_PARITY_AND_S))
            let free := mload(0x40)
            mstore(free, digest)
            mstore(add(free, 0x20), add(27, shr(255, yParityAndS)))
            mstore(add(free, 0x40), calldataload(add(header, SIGNATURE_R)))
            mstore(add(free, 0x60), shr(1, shl(1, yParityAndS)))
            pop(staticcall(gas(), ECRECOVER, free, 0x80, 0x00, 0x20))
            signer := mul(mload(0x00), eq(returndatasize(), 0x20))
        }
    }

    /// @notice Ends the call with an empty context and `validationData`: the 96 bytes that every EntryPoint takes.
    function answer(uint256 validationData) internal pure {
        assembly ("memory-safe") {
            mstore(0x00, 0x40)
            mstore(0x20, validationData)
            mstore(0x40, 0x00)
            return(0x00, 0x60)
        }
    }
}
