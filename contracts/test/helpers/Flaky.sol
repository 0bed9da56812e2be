// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice A target that can be switched to revert, so that a call that passed simulation fails on chain.
contract Flaky {
    /// @notice What `poke` reverts with while broken.
    error Broken();

    /// @notice Whether `poke` reverts.
    bool public broken;

    /// @notice Calls of `poke` that went through.
    uint256 public pokes;

    /// @notice Breaks or mends the target. Anyone may.
    function setBroken(bool broken_) external {
        broken = broken_;
    }

    /// @notice Counts a call, or reverts while broken.
    function poke() external {
        if (broken) revert Broken();
        ++pokes;
    }
}
