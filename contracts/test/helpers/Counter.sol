// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice A target whose calls can be counted: proof that a sponsored operation did something.
contract Counter {
    /// @notice Calls of `increment`, by everybody.
    uint256 public count;

    /// @notice Calls of `increment`, by caller.
    mapping(address caller => uint256) public countOf;

    /// @notice Counts one more call of the caller's.
    function increment() external {
        ++count;
        ++countOf[msg.sender];
    }
}
