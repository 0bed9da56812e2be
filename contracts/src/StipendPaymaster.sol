// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IEntryPoint} from "./interfaces/IEntryPoint.sol";
import {PackedUserOperation} from "./interfaces/PackedUserOperation.sol";

/// @title The gas tank of Stipend: pays for the user operations that a Stipend service has signed.
///
/// @notice A verifying paymaster (https://eips.ethereum.org/EIPS/eip-4337#paymasters) for EntryPoint v0.7, v0.8 and
///         v0.9, deployed once per EntryPoint. `paymasterAndData` is exactly 128 bytes:
///
///         paymaster(20) ‖ verificationGasLimit(16) ‖ postOpGasLimit(16) ‖ validAfter(6) ‖ validUntil(6) ‖ signature(64)
///
///         The signature is EIP-2098 (r ‖ yParityAndS) by one of the signers over `digest`, which covers everything of
///         the operation but the two signatures.
///
/// @dev    Validation reads no storage, no clock and only the sender's code, so that bundlers accept an unstaked
///         instance (https://eips.ethereum.org/EIPS/eip-7562). Signers are immutable: to replace the last of them, deploy
///         a new instance and move the deposit. Whoever holds a signer's key can spend the deposit, so keep it small;
///         a leaked key is stopped by withdrawing. There is no `postOp`: without a context no EntryPoint calls it.
contract StipendPaymaster {
    /// @notice The most signers an instance can have.
    uint256 public constant MAX_SIGNERS = 4;

    /// @notice The EIP-712 type of what a signer signs (https://eips.ethereum.org/EIPS/eip-712#definition-of-hashstruct).
    bytes32 public constant SPONSORSHIP_TYPEHASH = keccak256(
        "Sponsorship(address entryPoint,address sender,uint256 nonce,bytes initCode,bytes callData,"
        "bytes32 accountGasLimits,uint256 preVerificationGas,bytes32 gasFees,bytes paymasterHeader)"
    );

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("Stipend");
    bytes32 private constant VERSION_HASH = keccak256("1");

    uint256 private constant PAYMASTER_AND_DATA_LENGTH = 128;
    uint256 private constant WINDOW_OFFSET = 52;
    uint256 private constant HEADER_LENGTH = 64;

    /// @dev https://eips.ethereum.org/EIPS/eip-4337#paymasters: the low 160 bits of `validationData`, 1 for "not signed".
    uint256 private constant SIG_VALIDATION_FAILED = 1;

    /// @dev The first 20 bytes of `initCode` of an EIP-7702 account, zero-padded when `initCode` is shorter.
    bytes20 private constant EIP7702_MARKER = bytes20(bytes2(0x7702));

    /// @dev What precedes the delegate's address in a delegated account's code (https://eips.ethereum.org/EIPS/eip-7702).
    bytes3 private constant EIP7702_PREFIX = 0xef0100;

    /// @notice The only caller of `validatePaymasterUserOp`, and the keeper of deposit and stake.
    IEntryPoint public immutable entryPoint;

    // An unused slot repeats the first signer, so that no slot is ever the zero address, which ecrecover answers for garbage.
    address private immutable _signer0;
    address private immutable _signer1;
    address private immutable _signer2;
    address private immutable _signer3;

    /// @notice Who may withdraw and manage the stake. Has no say in validation.
    address public owner;

    /// @notice Who may accept the ownership, or zero.
    address public pendingOwner;

    /// @notice `pendingOwner` may now accept the ownership; zero when an offer was taken back.
    event OwnershipTransferStarted(address indexed owner, address indexed pendingOwner);

    /// @notice The ownership has moved.
    event OwnershipTransferred(address indexed previousOwner, address indexed owner);

    /// @notice Only the EntryPoint may ask for validation.
    error CallerNotEntryPoint(address caller, address entryPoint);

    /// @notice Only the owner may do this.
    error CallerNotOwner(address caller, address owner);

    /// @notice Only the pending owner may accept.
    error CallerNotPendingOwner(address caller, address pendingOwner);

    /// @notice The EntryPoint has no code on this chain.
    error EntryPointWithoutCode(address entryPoint);

    /// @notice The paymaster would have no owner.
    error ZeroOwner();

    /// @notice There must be between one and `most` signers.
    error SignerCountOutOfRange(uint256 count, uint256 most);

    /// @notice The signer at `index` is the zero address.
    error ZeroSigner(uint256 index);

    /// @notice The signers at `first` and `second` are the same address.
    error RepeatedSigner(address signer, uint256 first, uint256 second);

    modifier onlyOwner() {
        if (msg.sender != owner) revert CallerNotOwner(msg.sender, owner);
        _;
    }

    /// @param entryPoint_ The EntryPoint (v0.7, v0.8 or v0.9) that this instance serves; must have code.
    /// @param owner_ The first owner; not zero.
    /// @param signers_ One to four distinct addresses, none of them zero. All are equal: the service decides which it uses.
    constructor(address entryPoint_, address owner_, address[] memory signers_) {
        if (entryPoint_.code.length == 0) revert EntryPointWithoutCode(entryPoint_);
        if (owner_ == address(0)) revert ZeroOwner();

        uint256 count = signers_.length;
        if (count == 0 || count > MAX_SIGNERS) revert SignerCountOutOfRange(count, MAX_SIGNERS);
        for (uint256 i = 0; i < count; ++i) {
            if (signers_[i] == address(0)) revert ZeroSigner(i);
            for (uint256 j = 0; j < i; ++j) {
                if (signers_[i] == signers_[j]) revert RepeatedSigner(signers_[i], j, i);
            }
        }

        entryPoint = IEntryPoint(entryPoint_);
        _signer0 = signers_[0];
        _signer1 = count > 1 ? signers_[1] : signers_[0];
        _signer2 = count > 2 ? signers_[2] : signers_[0];
        _signer3 = count > 3 ? signers_[3] : signers_[0];

        owner = owner_;
        emit OwnershipTransferred(address(0), owner_);
    }

    /// @notice Tells the EntryPoint whether a signer agreed to pay for `op`, and when.
    /// @dev    An operation that nobody signed is answered, not reverted, so that gas can be estimated with a stub
    ///         (https://eips.ethereum.org/EIPS/eip-4337#simulation). The window is already laid out as the top 96 bits
    ///         of `validationData`. The hash and the maximum cost that the EntryPoint offers are not needed.
    /// @param op The operation, as the EntryPoint re-encoded it.
    /// @return context Always empty.
    /// @return validationData validAfter(6) ‖ validUntil(6) ‖ 0 when signed and 1 when not (20).
    function validatePaymasterUserOp(PackedUserOperation calldata op, bytes32, uint256)
        external
        view
        returns (bytes memory context, uint256 validationData)
    {
        if (msg.sender != address(entryPoint)) revert CallerNotEntryPoint(msg.sender, address(entryPoint));

        bytes calldata data = op.paymasterAndData;
        if (data.length != PAYMASTER_AND_DATA_LENGTH) return (context, SIG_VALIDATION_FAILED);

        validationData = uint256(bytes32(bytes12(data[WINDOW_OFFSET:HEADER_LENGTH])));
        if (!isSigner(_recover(digest(op), data[HEADER_LENGTH:]))) validationData |= SIG_VALIDATION_FAILED;
    }

    /// @notice The EIP-712 hash that a signer signs to sponsor `op` on this chain, with this paymaster and EntryPoint.
    /// @dev    Covers all of `op` but its signature and the paymaster's, with both paymaster gas limits and the window.
    ///         Reverts without a reason when `paymasterAndData` is too short to hold them.
    /// @param op The operation; `paymasterAndData` with or without a signature at its end.
    function digest(PackedUserOperation calldata op) public view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                SPONSORSHIP_TYPEHASH,
                entryPoint,
                op.sender,
                op.nonce,
                keccak256(_signedInitCode(op)),
                keccak256(op.callData),
                op.accountGasLimits,
                op.preVerificationGas,
                op.gasFees,
                keccak256(op.paymasterAndData[:HEADER_LENGTH])
            )
        );
        bytes32 domainSeparator =
            keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", domainSeparator, structHash));
    }

    /// @dev Bundlers pack the EIP-7702 marker as 2 or as 20 bytes, so what is signed is what the marker stands for: the
    ///      delegate, as in the EntryPoint's own hash (https://eips.ethereum.org/EIPS/eip-4337#support-for-eip-7702-authorizations).
    function _signedInitCode(PackedUserOperation calldata op) private view returns (bytes memory) {
        bytes calldata initCode = op.initCode;
        if (bytes20(initCode) != EIP7702_MARKER) return initCode;
        return bytes.concat(_delegateOf(op.sender), initCode.length > 20 ? initCode[20:] : initCode[:0]);
    }

    /// @dev The address that `account` has delegated its code to, or zero, which no honest signature covers.
    function _delegateOf(address account) private view returns (bytes20) {
        bytes memory code = account.code;
        if (code.length != 23 || bytes3(code) != EIP7702_PREFIX) return 0;
        return bytes20(bytes32(code) << 24);
    }

    /// @dev Who made the 64-byte `signature` (https://eips.ethereum.org/EIPS/eip-2098), or zero when nobody can have.
    function _recover(bytes32 hash, bytes calldata signature) private pure returns (address) {
        bytes32 r = bytes32(signature[:32]);
        uint256 yParityAndS = uint256(bytes32(signature[32:]));
        return ecrecover(hash, uint8(27 + (yParityAndS >> 255)), r, bytes32(yParityAndS & ~(uint256(1) << 255)));
    }

    /// @notice Whether a signature of `candidate` makes this paymaster pay. Never for the zero address.
    function isSigner(address candidate) public view returns (bool) {
        return candidate != address(0)
            && (candidate == _signer0 || candidate == _signer1 || candidate == _signer2 || candidate == _signer3);
    }

    /// @notice The signers, each once, in the order of the constructor.
    function signers() external view returns (address[] memory list) {
        address[MAX_SIGNERS] memory slots = [_signer0, _signer1, _signer2, _signer3];
        uint256 count = 1;
        while (count < MAX_SIGNERS && slots[count] != _signer0) ++count;

        list = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = slots[i];
        }
    }

    /// @notice Adds the value sent, in wei, to the deposit that pays for operations. Anyone may.
    function deposit() external payable {
        entryPoint.depositTo{value: msg.value}(address(this));
    }

    /// @notice Pays `amount` wei of the deposit out to `to`.
    function withdrawTo(address payable to, uint256 amount) external onlyOwner {
        entryPoint.withdrawTo(to, amount);
    }

    /// @notice Adds the value sent, in wei, to the stake, for the higher mempool quotas that bundlers give the staked.
    /// @param unstakeDelaySec Seconds between unlocking and withdrawal; the EntryPoint never lets it shrink.
    function addStake(uint32 unstakeDelaySec) external payable onlyOwner {
        entryPoint.addStake{value: msg.value}(unstakeDelaySec);
    }

    /// @notice Starts the delay after which the stake can be withdrawn.
    function unlockStake() external onlyOwner {
        entryPoint.unlockStake();
    }

    /// @notice Pays the whole unlocked stake out to `to`.
    function withdrawStake(address payable to) external onlyOwner {
        entryPoint.withdrawStake(to);
    }

    /// @notice Offers the ownership to `newOwner`, who has to accept it. Zero takes an offer back.
    /// @dev    There is no renouncing: a deposit without an owner could never be withdrawn.
    function transferOwnership(address newOwner) external onlyOwner {
        pendingOwner = newOwner;
        emit OwnershipTransferStarted(owner, newOwner);
    }

    /// @notice Takes an ownership that was offered to the caller.
    function acceptOwnership() external {
        if (msg.sender != pendingOwner) revert CallerNotPendingOwner(msg.sender, pendingOwner);
        emit OwnershipTransferred(owner, msg.sender);
        owner = msg.sender;
        pendingOwner = address(0);
    }
}
