// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Canonical} from "../../src/Canonical.sol";
import {StipendPaymaster} from "../../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../../src/interfaces/PackedUserOperation.sol";

/// @notice What can be wrong with a paymaster.
enum Defect {
    /// Nothing.
    None,
    /// It accepts for whoever asks.
    AnyCaller,
    /// Its digest leaves out the sender.
    ForgetsSender,
    /// Its digest covers the EIP-7702 marker, not what the marker stands for.
    IgnoresMarker,
    /// What ecrecover answers for garbage counts as a signer.
    AcceptsZero,
    /// It compares the lower half of the address only.
    ComparesHalf,
    /// The window is read behind the signed header.
    WindowBehindHeader,
    /// 138 bytes are of the parallel form, whatever stands at their end.
    AnySuffix,
    /// More than 128 bytes are of the sequential form.
    AnyLength,
    /// The parallel form is signed by the bare userOpHash.
    BareHash,
    /// It reverts where it ought to answer that nobody signed.
    Reverts,
    /// It answers with a word too many.
    LongAnswer,
    /// It counts its calls.
    Writes
}

/// @notice A paymaster that does what the genuine one does, but for one defect: the controls that show each statement of
///         the proofs able to fail.
contract DefectivePaymaster {
    bytes32 private constant SPONSORSHIP_TYPEHASH = keccak256("Sponsorship(address entryPoint,bytes operation)");

    Defect private immutable _defect;
    StipendPaymaster private immutable _genuine;
    bytes32 private immutable _domainSeparator;

    uint256 private _calls;

    /// @param genuine Whose signers, digests and domain are taken; deployed on this chain.
    constructor(Defect defect, StipendPaymaster genuine) {
        _defect = defect;
        _genuine = genuine;
        _domainSeparator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Stipend"),
                keccak256("1"),
                block.chainid,
                genuine
            )
        );
    }

    /// @notice See `StipendPaymaster.validatePaymasterUserOp`.
    function validatePaymasterUserOp(PackedUserOperation calldata op, bytes32 userOpHash, uint256)
        external
        returns (bytes memory, uint256 validationData)
    {
        if (msg.sender != address(_genuine.entryPoint())) {
            require(_defect == Defect.AnyCaller, "not the EntryPoint");
            Canonical.answer(0);
        }
        if (_defect == Defect.Writes) ++_calls;

        (uint256 header, uint256 length) = Canonical.paymasterAndData(op);
        bytes32 signed;
        if (_isParallel(header, length)) {
            signed = _defect == Defect.BareHash ? userOpHash : _genuine.digestOfHash(userOpHash);
        } else if (length == 128 || (_defect == Defect.AnyLength && length > 128)) {
            signed = _sequentialDigest(op, header);
        } else {
            Canonical.answer(1);
        }

        validationData = Canonical.window(_defect == Defect.WindowBehindHeader ? header + 12 : header);
        if (!_isSigner(Canonical.recover(signed, header))) {
            require(_defect != Defect.Reverts, "not signed");
            validationData |= 1;
        }
        if (_defect == Defect.LongAnswer) _answerLong(validationData);
        Canonical.answer(validationData);
    }

    /// @notice See `StipendPaymaster.digest`.
    function digest(PackedUserOperation memory op) external view returns (bytes32) {
        if (_defect == Defect.ForgetsSender) op.sender = address(0);
        return _genuine.digest(op);
    }

    function _isParallel(uint256 header, uint256 length) private view returns (bool) {
        if (_defect == Defect.AnySuffix && length == 138) return true;
        return Canonical.endsInPaymasterSignature(header, length);
    }

    function _sequentialDigest(PackedUserOperation calldata op, uint256 header) private view returns (bytes32) {
        bool fast = block.chainid == 31337 && (_defect == Defect.IgnoresMarker || !Canonical.hasEip7702Marker(op));
        if (!fast) return _genuine.digest(op);
        bytes32 operationHash = Canonical.hashOperation(op, header);
        if (_defect == Defect.ForgetsSender) {
            assembly ("memory-safe") {
                let free := mload(0x40)
                let length := sub(add(header, 0x20), op)
                calldatacopy(free, add(op, 0x20), length)
                operationHash := keccak256(free, length)
            }
        }
        bytes32 structHash = Canonical.hash(SPONSORSHIP_TYPEHASH, address(_genuine.entryPoint()), operationHash);
        return Canonical.hashTypedData(_domainSeparator, structHash);
    }

    function _isSigner(address candidate) private view returns (bool) {
        if (_defect == Defect.AcceptsZero && candidate == address(0)) return true;
        if (_defect == Defect.ComparesHalf) {
            return uint80(uint160(candidate)) == uint80(uint160(_genuine.getSigners()[0]));
        }
        return _genuine.isSigner(candidate);
    }

    function _answerLong(uint256 validationData) private pure {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, 0x40)
            mstore(add(free, 0x20), validationData)
            mstore(add(free, 0x40), 0)
            mstore(add(free, 0x60), 0)
            return(free, 0x80)
        }
    }
}
