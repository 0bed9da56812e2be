// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IEntryPoint as IEntryPointV07} from "@account-abstraction/contracts-v07/interfaces/IEntryPoint.sol";
import {VerifyingPaymaster} from "@account-abstraction/contracts-v07/samples/VerifyingPaymaster.sol";
import {Paymaster} from "@openzeppelin/contracts/account/paymaster/Paymaster.sol";
import {PaymasterSigner} from "@openzeppelin/contracts/account/paymaster/extensions/PaymasterSigner.sol";
import {IEntryPoint as IEntryPointOfOz, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignerECDSA} from "@openzeppelin/contracts/utils/cryptography/signers/SignerECDSA.sol";

/// @notice The floor: pays for everything. What is left is what the EntryPoint itself needs for any paymaster.
contract AcceptAllPaymaster {
    /// @notice Accepts.
    function validatePaymasterUserOp(PackedUserOperation calldata, bytes32, uint256)
        external
        pure
        returns (bytes memory, uint256)
    {
        assembly ("memory-safe") {
            mstore(0x00, 0x40)
            mstore(0x20, 0)
            mstore(0x40, 0)
            return(0x00, 0x60)
        }
    }
}

/// @notice The VerifyingPaymaster of eth-infinitism, but for the check that ties it to EntryPoint v0.7.
contract InfinitismPaymaster is VerifyingPaymaster {
    constructor(address entryPoint_, address signer_) VerifyingPaymaster(IEntryPointV07(entryPoint_), signer_) {}

    function _validateEntryPointInterface(IEntryPointV07) internal pure override {}
}

/// @notice OpenZeppelin's PaymasterSigner as its documentation shows it, with an ECDSA signer.
contract OpenZeppelinPaymaster is PaymasterSigner, SignerECDSA {
    IEntryPointOfOz private immutable _entryPoint;

    constructor(address entryPoint_, address signer_) EIP712("OpenZeppelinPaymaster", "1") SignerECDSA(signer_) {
        _entryPoint = IEntryPointOfOz(entryPoint_);
    }

    /// @inheritdoc Paymaster
    function entryPoint() public view override returns (IEntryPointOfOz) {
        return _entryPoint;
    }

    /// @notice What its signer signs.
    function signable(PackedUserOperation calldata op, uint48 validAfter, uint48 validUntil)
        external
        view
        returns (bytes32)
    {
        return _signableUserOpHash(op, validAfter, validUntil);
    }
}
