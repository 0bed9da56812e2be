// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What a paymaster needs of an EntryPoint to keep its deposit and its stake; the same in v0.7, v0.8 and v0.9.
/// @dev https://eips.ethereum.org/EIPS/eip-4337#reputation-scoring-and-throttlingbanning-for-global-entities
interface IEntryPoint {
    /// @notice Adds the value sent, in wei, to the deposit of `account`.
    function depositTo(address account) external payable;

    /// @notice The deposit of `account`, in wei.
    function balanceOf(address account) external view returns (uint256);

    /// @notice Pays `amount` wei of the caller's deposit out to `to`.
    function withdrawTo(address payable to, uint256 amount) external;

    /// @notice Adds the value sent, in wei, to the caller's stake, which stays locked for `unstakeDelaySec` seconds after unlocking.
    function addStake(uint32 unstakeDelaySec) external payable;

    /// @notice Starts the delay after which the caller's stake can be withdrawn.
    function unlockStake() external;

    /// @notice Pays the caller's unlocked stake out to `to`.
    function withdrawStake(address payable to) external;
}
