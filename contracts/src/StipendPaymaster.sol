// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Canonical} from "./Canonical.sol";
import {IEntryPoint} from "./interfaces/IEntryPoint.sol";
import {PackedUserOperation} from "./interfaces/PackedUserOperation.sol";

/// @title The gas tank of Stipend: pays for the user operations that a Stipend service has signed.
///
/// @notice A verifying paymaster (https://eips.ethereum.org/EIPS/eip-4337#paymasters) for EntryPoint v0.7, v0.8 and
///         v0.9, deployed once per EntryPoint. `paymasterAndData` has one of two forms, and both begin with a header:
///
///         header      64  paymaster(20) ‖ verificationGasLimit(16) ‖ postOpGasLimit(16) ‖ validAfter(6) ‖ validUntil(6)
///         sequential 128  header ‖ signature(64)                          over `digest`: the paymaster signs first
///         parallel   138  header ‖ signature(64) ‖ 0x0040 ‖ magic(8)      over `digestOfHash`: the user may sign first
///
///         The signature is EIP-2098 (r ‖ yParityAndS) by one of the signers. Either digest covers everything of the
///         operation but the two signatures. The parallel form exists on v0.9 only: the hash of an older EntryPoint
///         covers the paymaster's signature too, so that nobody can make one that holds.
///
/// @dev    Validation reads no storage, no clock and only the sender's code, so that bundlers accept an unstaked
///         instance (https://eips.ethereum.org/EIPS/eip-7562). Signers are immutable: to replace the last of them, deploy
///         a new instance and move the deposit. Whoever holds a signer's key can spend the deposit, so keep it small;
///         a leaked key is stopped by the owner, who withdraws, or by the guardian, who moves the deposit to the vault.
///         There is no `postOp`: without a context no EntryPoint calls it. Each function whose selector is below that of
///         `validatePaymasterUserOp` costs every operation 22 gas; `withdraw` and `getSigners` are named with that in mind.
contract StipendPaymaster {
    /// @notice The most signers an instance can have.
    uint256 public constant MAX_SIGNERS = 4;

    /// @notice The EIP-712 type of what a signer signs in the sequential form
    ///         (https://eips.ethereum.org/EIPS/eip-712#definition-of-hashstruct); `digest` says what `operation` is.
    bytes32 private constant SPONSORSHIP_TYPEHASH = keccak256("Sponsorship(address entryPoint,bytes operation)");

    /// @notice The EIP-712 type of what a signer signs in the parallel form.
    bytes32 private constant PARALLEL_SPONSORSHIP_TYPEHASH = keccak256("ParallelSponsorship(bytes32 userOpHash)");

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("Stipend");
    bytes32 private constant VERSION_HASH = keccak256("1");

    uint256 private constant HEADER_LENGTH = 64;

    /// @dev https://eips.ethereum.org/EIPS/eip-4337#paymasters: the low 160 bits of `validationData`, 1 for "not signed".
    uint256 private constant SIG_VALIDATION_FAILED = 1;

    /// @dev What precedes the delegate's address in a delegated account's code (https://eips.ethereum.org/EIPS/eip-7702).
    bytes3 private constant EIP7702_PREFIX = 0xef0100;

    /// @notice The only caller of `validatePaymasterUserOp`, and the keeper of deposit and stake.
    IEntryPoint public immutable entryPoint;

    // An unused slot repeats the first signer, so that no slot is ever the zero address, which ecrecover answers for garbage.
    address private immutable _signer0;
    address private immutable _signer1;
    address private immutable _signer2;
    address private immutable _signer3;

    /// @notice Who may send the whole deposit to the vault, and may do nothing else.
    address public immutable depositGuardian;

    /// @notice Where the guardian's only act sends the deposit.
    address payable public immutable vault;

    // The domain of the chain that this was deployed on; another chain that splits off from it has another domain.
    uint256 private immutable _chainId;
    bytes32 private immutable _domainSeparator;

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

    /// @notice Only the guardian may do this.
    error CallerNotGuardian(address caller, address guardian);

    /// @notice Only the pending owner may accept.
    error CallerNotPendingOwner(address caller, address pendingOwner);

    /// @notice The EntryPoint has no code on this chain.
    error EntryPointWithoutCode(address entryPoint);

    /// @notice The paymaster would have no owner.
    error ZeroOwner();

    /// @notice The paymaster would have no guardian.
    error ZeroGuardian();

    /// @notice The EntryPoint could not pay out to this vault, or the ether would be stuck in it.
    error UnusableVault(address vault);

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
    /// @param signers_ One to four distinct addresses, none of them zero. All may sign; the first is the cheapest.
    /// @param guardian_ Who may send the deposit to the vault; not zero.
    /// @param vault_ Where the guardian sends it; not zero, this contract or the EntryPoint. It must accept plain ether.
    constructor(
        address entryPoint_,
        address owner_,
        address[] memory signers_,
        address guardian_,
        address payable vault_
    ) {
        if (entryPoint_.code.length == 0) revert EntryPointWithoutCode(entryPoint_);
        if (owner_ == address(0)) revert ZeroOwner();
        if (guardian_ == address(0)) revert ZeroGuardian();
        if (vault_ == address(0) || vault_ == address(this) || vault_ == entryPoint_) revert UnusableVault(vault_);

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

        depositGuardian = guardian_;
        vault = vault_;
        _chainId = block.chainid;
        _domainSeparator = _hashDomain();

        owner = owner_;
        emit OwnershipTransferred(address(0), owner_);
    }

    /// @notice Tells the EntryPoint whether a signer agreed to pay for `op`, and when.
    /// @dev    An operation that nobody signed is answered, not reverted, so that gas can be estimated with a stub
    ///         (https://eips.ethereum.org/EIPS/eip-4337#simulation). The window is already laid out as the top 96 bits
    ///         of `validationData`. The maximum cost that the EntryPoint offers is not needed.
    /// @param op The operation, as the EntryPoint re-encoded it.
    /// @param userOpHash The EntryPoint's hash of the operation, which only the parallel form is signed by.
    /// @return The context, always empty.
    /// @return validationData validAfter(6) ‖ validUntil(6) ‖ 0 when signed and 1 when not (20).
    function validatePaymasterUserOp(PackedUserOperation calldata op, bytes32 userOpHash, uint256)
        external
        view
        returns (bytes memory, uint256 validationData)
    {
        if (msg.sender != address(entryPoint)) revert CallerNotEntryPoint(msg.sender, address(entryPoint));

        (uint256 header, uint256 length) = Canonical.paymasterAndData(op);
        bytes32 structHash;
        if (length == Canonical.SEQUENTIAL_LENGTH) {
            bytes32 operationHash = Canonical.hashOperation(op, header);
            if (Canonical.hasEip7702Marker(op)) operationHash = _hashOperation(op);
            structHash = Canonical.hash(SPONSORSHIP_TYPEHASH, address(entryPoint), operationHash);
        } else if (Canonical.endsInPaymasterSignature(header, length)) {
            structHash = Canonical.hash(PARALLEL_SPONSORSHIP_TYPEHASH, userOpHash);
        } else {
            Canonical.answer(SIG_VALIDATION_FAILED);
        }

        bytes32 domain = block.chainid == _chainId ? _domainSeparator : _hashDomain();
        address signer = Canonical.recover(Canonical.hashTypedData(domain, structHash), header);
        validationData = Canonical.window(header);
        if (signer != _signer0) {
            if (!isSigner(signer)) validationData |= SIG_VALIDATION_FAILED;
        }
        Canonical.answer(validationData);
    }

    /// @notice The EIP-712 hash that a signer signs to sponsor `op` on this chain, with this paymaster and EntryPoint, in
    ///         the sequential form.
    /// @dev    Covers all of `op` but its signature and the paymaster's, with both paymaster gas limits and the window.
    ///         `operation` is the ABI encoding of the operation in its sequential form, from its first word to the end
    ///         of the header: all that comes before the first byte of a signature. This is the definition; validation
    ///         takes the same bytes from its calldata, where the EntryPoint has put them.
    ///         Reverts without a reason when `paymasterAndData` is too short to hold a header.
    /// @param op The operation; `paymasterAndData` with or without a signature at its end.
    function digest(PackedUserOperation calldata op) external view returns (bytes32) {
        return _toTypedDataHash(keccak256(abi.encode(SPONSORSHIP_TYPEHASH, entryPoint, _hashOperation(op))));
    }

    function _hashOperation(PackedUserOperation calldata op) private view returns (bytes32 operationHash) {
        PackedUserOperation memory signed = op;
        signed.initCode = _signedInitCode(op);
        signed.paymasterAndData = bytes.concat(op.paymasterAndData[:HEADER_LENGTH], new bytes(64));
        signed.signature = "";
        // In front of the struct stands its offset; behind the header stand 64 bytes of signature and an empty one's length.
        bytes memory encoded = abi.encode(signed);
        assembly ("memory-safe") {
            operationHash := keccak256(add(encoded, 0x40), sub(mload(encoded), 0x80))
        }
    }

    /// @notice The EIP-712 hash that a signer signs in the parallel form.
    /// @param userOpHash What EntryPoint v0.9 hashes the operation to, which leaves out both signatures and covers the rest.
    function digestOfHash(bytes32 userOpHash) external view returns (bytes32) {
        return _toTypedDataHash(keccak256(abi.encode(PARALLEL_SPONSORSHIP_TYPEHASH, userOpHash)));
    }

    /// @dev https://eips.ethereum.org/EIPS/eip-712#specification
    function _toTypedDataHash(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", _hashDomain(), structHash));
    }

    function _hashDomain() private view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
    }

    /// @dev Bundlers pack the EIP-7702 marker as 2 or as 20 bytes, so what is signed is what the marker stands for: the
    ///      delegate, as in the EntryPoint's own hash (https://eips.ethereum.org/EIPS/eip-4337#support-for-eip-7702-authorizations).
    function _signedInitCode(PackedUserOperation calldata op) private view returns (bytes memory) {
        bytes calldata initCode = op.initCode;
        if (bytes20(initCode) != bytes20(uint160(Canonical.EIP7702_MARKER))) return initCode;
        return bytes.concat(_delegateOf(op.sender), initCode.length > 20 ? initCode[20:] : initCode[:0]);
    }

    /// @dev The address that `account` has delegated its code to, or zero, which no honest signature covers.
    function _delegateOf(address account) private view returns (bytes20) {
        bytes memory code = account.code;
        if (code.length != 23 || bytes3(code) != EIP7702_PREFIX) return 0;
        return bytes20(bytes32(code) << 24);
    }

    /// @notice Whether a signature of `candidate` makes this paymaster pay. Never for the zero address, which no slot holds.
    function isSigner(address candidate) public view returns (bool) {
        return candidate == _signer0 || candidate == _signer1 || candidate == _signer2 || candidate == _signer3;
    }

    /// @notice The signers, each once, in the order of the constructor.
    function getSigners() external view returns (address[] memory list) {
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
    /// @param to Must accept plain ether.
    /// @param amount The largest uint256 stands for the whole deposit at that moment: a sum that was read before would be
    ///        too large as soon as one more operation has been charged, and then nothing at all would be paid out.
    function withdraw(address payable to, uint256 amount) external onlyOwner {
        if (amount == type(uint256).max) amount = entryPoint.balanceOf(address(this));
        entryPoint.withdrawTo(to, amount);
    }

    /// @notice Sends the whole deposit to the vault: what the guardian does when a signer's key has leaked. Without a
    ///         deposit the EntryPoint refuses every operation.
    function moveDepositToVault() external {
        if (msg.sender != depositGuardian) revert CallerNotGuardian(msg.sender, depositGuardian);
        entryPoint.withdrawTo(vault, entryPoint.balanceOf(address(this)));
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
