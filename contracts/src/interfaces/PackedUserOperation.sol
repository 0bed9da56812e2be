// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice A user operation as EntryPoint v0.7, v0.8 and v0.9 pass it on: one ABI in all three.
/// @dev https://eips.ethereum.org/EIPS/eip-4337#useroperation
/// @param sender The smart account.
/// @param nonce The account's nonce: 192 bits of key, 64 bits of sequence.
/// @param initCode Empty, factory(20) ‖ factory data, or the EIP-7702 marker with optional initialisation data.
/// @param callData What the account is called with.
/// @param accountGasLimits verificationGasLimit(16) ‖ callGasLimit(16), in gas.
/// @param preVerificationGas Gas paid to the bundler for what the EntryPoint cannot measure.
/// @param gasFees maxPriorityFeePerGas(16) ‖ maxFeePerGas(16), in wei per gas.
/// @param paymasterAndData paymaster(20) ‖ verificationGasLimit(16) ‖ postOpGasLimit(16) ‖ the paymaster's own data.
/// @param signature The account's signature; no part of a sponsorship.
struct PackedUserOperation {
    address sender;
    uint256 nonce;
    bytes initCode;
    bytes callData;
    bytes32 accountGasLimits;
    uint256 preVerificationGas;
    bytes32 gasFees;
    bytes paymasterAndData;
    bytes signature;
}
