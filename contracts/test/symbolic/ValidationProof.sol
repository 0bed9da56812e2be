// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../../src/interfaces/PackedUserOperation.sol";
import {Defect, DefectivePaymaster} from "./DefectivePaymaster.sol";

/// @notice The cheatcodes of halmos that the proofs use.
interface SymbolicVm {
    function assume(bool condition) external pure;
    function chainId(uint256 id) external;
    function etch(address account, bytes calldata code) external;
    function prank(address sender) external;
    function envUint(string calldata name) external view returns (uint256);
    function createAddress(string calldata name) external view returns (address);
}

/// @notice What holds of `validatePaymasterUserOp` for every operation of the listed lengths, whatever its contents, the
///         chain and the signers. halmos executes the compiled code with symbols in their place, ecrecover and
///         keccak256 uninterpreted: ecrecover may give any address, zero among them, but the same one for the same input.
///
/// @dev    A path of a proof that reverts would prove nothing and be passed over, so each proof calls itself and asserts
///         that it came to its end. Run by `cargo xtask test --all`; forge takes functions of this name for no tests.
abstract contract ValidationProof {
    SymbolicVm internal constant vm = SymbolicVm(address(uint160(uint256(keccak256("hevm cheat code")))));
    SymbolicVm internal constant symbols = SymbolicVm(address(uint160(uint256(keccak256("svm cheat code")))));

    address internal constant ENTRY_POINT = address(0x4337);
    address internal constant DELEGATED = address(0x7702);

    uint256 internal constant ANSWER_LENGTH = 96;
    uint256 internal constant SIG_VALIDATION_FAILED = 1;
    uint80 private constant PARALLEL_SUFFIX = 0x004022e325a297439656;

    /// @dev Has the readable definition of the digests.
    StipendPaymaster internal genuine;

    /// @dev What the statements are about: the genuine one, or one with a defect, for which they must not hold.
    StipendPaymaster internal subject;

    address[4] private _signers;

    /// @dev Gives the contract that the statements are about.
    function _deploySubject() internal virtual returns (address);

    modifier neverReverts() {
        if (msg.sender == address(this)) {
            _;
        } else {
            (bool ended,) = address(this).call(msg.data);
            assert(ended);
        }
    }

    function setUp() public {
        vm.etch(ENTRY_POINT, hex"00");
        vm.etch(DELEGATED, abi.encodePacked(hex"ef0100", symbols.createAddress("delegate")));
        address[] memory signers = new address[](4);
        for (uint256 i = 0; i < 4; ++i) {
            signers[i] = symbols.createAddress("signer");
            vm.assume(signers[i] != address(0));
            for (uint256 j = 0; j < i; ++j) {
                vm.assume(signers[i] != signers[j]);
            }
            _signers[i] = signers[i];
        }
        genuine = new StipendPaymaster(ENTRY_POINT, address(1), signers, address(2), payable(address(3)));
        subject = StipendPaymaster(_deploySubject());
    }

    /// @notice A signature is accepted exactly when ecrecover of `digest(op)` gives a signer; the answer is 96 bytes, holds
    ///         no context and the window of the header; nothing is written.
    /// @custom:halmos --array-lengths op.initCode={0,20},op.callData={0,36},op.paymasterAndData=128,op.signature={0,65}
    function check_sequential_form(
        PackedUserOperation memory op,
        bytes32 userOpHash,
        uint256 maxCost,
        uint64 otherChain
    ) public neverReverts {
        _mayMoveTo(otherChain);
        _assertAnswer(op, userOpHash, maxCost, genuine.digest(op));
    }

    /// @notice The same of more lengths.
    /// @custom:halmos --array-lengths op.initCode={0,20,32,56},op.callData={0,4,32,228},op.paymasterAndData=128,op.signature={0,65}
    function check_more_sequential_lengths(PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost)
        public
        neverReverts
    {
        _assertAnswer(op, userOpHash, maxCost, genuine.digest(op));
    }

    /// @notice The same of accounts whose `initCode` begins with the EIP-7702 marker, delegated or not.
    /// @custom:halmos --array-lengths op.initCode={2,20,56},op.callData={0,36},op.paymasterAndData=128,op.signature={0,65}
    function check_marked_account(PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost, bool delegated)
        public
        neverReverts
    {
        op.sender = delegated ? DELEGATED : address(0xACC0);
        bytes memory initCode = op.initCode;
        assembly ("memory-safe") {
            switch mload(initCode)
            case 2 { mstore(add(initCode, 0x20), shl(240, 0x7702)) }
            default {
                let place := add(initCode, 0x20)
                mstore(place, or(shl(240, 0x7702), shr(160, shl(160, mload(place)))))
            }
        }
        _assertAnswer(op, userOpHash, maxCost, genuine.digest(op));
    }

    /// @notice Of the parallel form, with `digestOfHash` in the place of `digest`.
    /// @custom:halmos --array-lengths op.initCode={0,20,56},op.callData={0,36},op.paymasterAndData=138,op.signature={0,65}
    function check_parallel_form(PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost, uint64 otherChain)
        public
        neverReverts
    {
        _mayMoveTo(otherChain);
        bytes memory data = op.paymasterAndData;
        assembly ("memory-safe") {
            mstore(add(data, 0x8a), or(shl(80, shr(80, mload(add(data, 0x8a)))), PARALLEL_SUFFIX))
        }
        _assertAnswer(op, userOpHash, maxCost, genuine.digestOfHash(userOpHash));
    }

    /// @notice With any other end, 138 bytes are not signed.
    /// @custom:halmos --array-lengths op.initCode={0,20},op.callData={0,36},op.paymasterAndData=138,op.signature={0,65}
    function check_another_suffix(PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost)
        public
        neverReverts
    {
        bytes memory data = op.paymasterAndData;
        uint80 suffix;
        assembly ("memory-safe") {
            suffix := and(mload(add(data, 0x8a)), 0xffffffffffffffffffff)
        }
        vm.assume(suffix != PARALLEL_SUFFIX);
        assert(_validate(op, userOpHash, maxCost) == SIG_VALIDATION_FAILED);
    }

    /// @notice Of any other length, nothing is signed.
    /// @custom:halmos --array-lengths op.initCode={0,20},op.callData={0,36},op.paymasterAndData={0,52,64,127,129,137,139,200},op.signature={0,65}
    function check_another_length(PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost)
        public
        neverReverts
    {
        assert(_validate(op, userOpHash, maxCost) == SIG_VALIDATION_FAILED);
    }

    /// @notice Whoever is not the EntryPoint gets no answer.
    /// @custom:halmos --array-lengths op.initCode={0,20},op.callData={0,36},op.paymasterAndData={64,128,138},op.signature={0,65}
    function check_another_caller(address caller, PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost)
        public
        neverReverts
    {
        _assertRefused(caller, abi.encode(op, userOpHash, maxCost));
    }

    /// @notice Nor does it for bytes that are no operation.
    /// @custom:halmos --array-lengths encoded={0,32,96,544,576}
    function check_another_caller_with_any_bytes(address caller, bytes memory encoded) public neverReverts {
        _assertRefused(caller, encoded);
    }

    /// @notice Two operations with one digest are the same but for their signatures.
    /// @custom:halmos --array-lengths op.initCode={0,20},op.callData={0,36},op.paymasterAndData=128,op.signature=65,other.initCode={0,20},other.callData={0,36},other.paymasterAndData=128,other.signature=0
    function check_digest_covers_all_else(PackedUserOperation memory op, PackedUserOperation memory other)
        public
        neverReverts
    {
        // What the marker stands for is not in the operation.
        vm.assume(!_isMarked(op) && !_isMarked(other));
        if (subject.digest(op) == subject.digest(other)) {
            assert(keccak256(_withoutSignatures(op)) == keccak256(_withoutSignatures(other)));
        }
    }

    function _assertRefused(address caller, bytes memory encoded) private {
        vm.assume(caller != ENTRY_POINT);
        vm.prank(caller);
        (bool answered,) =
            address(subject).call(bytes.concat(StipendPaymaster.validatePaymasterUserOp.selector, encoded));
        assert(!answered);
    }

    /// @dev Two cases, because halmos cannot know that a hash with a symbol in it may be one that was computed before.
    function _mayMoveTo(uint64 otherChain) private {
        if (otherChain != block.chainid) vm.chainId(otherChain);
    }

    function _assertAnswer(PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost, bytes32 digest) private {
        bytes memory data = op.paymasterAndData;
        uint256 window;
        bytes32 r;
        uint256 yParityAndS;
        assembly ("memory-safe") {
            window := shl(160, shr(160, mload(add(data, 0x54))))
            r := mload(add(data, 0x60))
            yParityAndS := mload(add(data, 0x80))
        }
        uint8 v = uint8(27 + (yParityAndS >> 255));
        address signer = ecrecover(digest, v, r, bytes32(yParityAndS << 1 >> 1));
        uint256 refusal = _isSigner(signer) ? 0 : SIG_VALIDATION_FAILED;
        assert(_validate(op, userOpHash, maxCost) == window | refusal);
    }

    /// @dev The call is static, so it succeeds only if nothing is written, emitted or created.
    function _validate(PackedUserOperation memory op, bytes32 userOpHash, uint256 maxCost)
        private
        returns (uint256 validationData)
    {
        bytes memory call = abi.encodeCall(StipendPaymaster.validatePaymasterUserOp, (op, userOpHash, maxCost));
        vm.prank(ENTRY_POINT);
        (bool answered, bytes memory answer) = address(subject).staticcall(call);
        assert(answered);
        assert(answer.length == ANSWER_LENGTH);
        uint256 place;
        uint256 length;
        assembly ("memory-safe") {
            place := mload(add(answer, 0x20))
            validationData := mload(add(answer, 0x40))
            length := mload(add(answer, 0x60))
        }
        assert(place == 0x40 && length == 0);
    }

    /// @dev Without a branch, to keep the paths few.
    function _isSigner(address candidate) private view returns (bool found) {
        (address a, address b, address c, address d) = (_signers[0], _signers[1], _signers[2], _signers[3]);
        assembly ("memory-safe") {
            found := or(or(eq(candidate, a), eq(candidate, b)), or(eq(candidate, c), eq(candidate, d)))
        }
    }

    function _isMarked(PackedUserOperation memory op) private pure returns (bool) {
        return bytes20(op.initCode) == bytes20(bytes2(0x7702));
    }

    function _withoutSignatures(PackedUserOperation memory op) private pure returns (bytes memory) {
        bytes memory header = op.paymasterAndData;
        assembly ("memory-safe") {
            mstore(header, 64)
        }
        op.signature = "";
        return abi.encode(op);
    }
}

/// @notice The statements about the genuine paymaster, which hold.
contract StipendPaymasterProof is ValidationProof {
    function _deploySubject() internal view override returns (address) {
        return address(genuine);
    }
}

/// @notice The controls: the same statements about the paymaster with the defect that the environment names by its number.
contract DefectivePaymasterProof is ValidationProof {
    function _deploySubject() internal override returns (address) {
        return address(new DefectivePaymaster(Defect(vm.envUint("DEFECT")), genuine));
    }
}
