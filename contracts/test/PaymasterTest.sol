// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../src/interfaces/PackedUserOperation.sol";
import {Test} from "./Test.sol";
import {Counter} from "./helpers/Counter.sol";
import {EntryPoints, IEntryPointUnderTest} from "./helpers/EntryPoints.sol";
import {TestAccount} from "./helpers/TestAccount.sol";

/// @notice The stage of every test: three EntryPoints, and on each a paymaster with a deposit and an account; v0.9 twice,
///         once for each form of `paymasterAndData`.
abstract contract PaymasterTest is Test {
    uint256 internal constant SIGNER_KEY = 0xA11CE;
    uint256 internal constant STANDBY_KEY = 0xB0B;
    uint256 internal constant STRANGER_KEY = 0xBAD;

    address internal constant OWNER = address(0x0A11);
    address internal constant STRANGER = address(0x57A);
    address internal constant BUNDLER = address(0xB1D);
    address internal constant GUARDIAN = address(0x6A2D);
    address payable internal constant VAULT = payable(address(0x7A017));
    address payable internal constant BENEFICIARY = payable(address(0xBEEF));

    uint256 internal constant DEPOSIT = 10 ether;
    uint256 internal constant CHAIN_ID = 31337;
    uint48 internal constant NOW = 1_800_000_000;
    uint256 internal constant SIG_VALIDATION_FAILED = 1;

    /// @dev The length of the signature and the magic, by which v0.9 knows a paymaster's signature.
    bytes internal constant PARALLEL_SUFFIX = hex"004022e325a297439656";

    struct World {
        string version;
        IEntryPointUnderTest entryPoint;
        StipendPaymaster paymaster;
        TestAccount account;
        bool parallel;
    }

    World[4] internal worlds;
    Counter internal counter;

    /// @dev The world that the body of a test sees; `onEveryEntryPoint` goes through them all.
    World internal w;

    modifier onEveryEntryPoint() {
        for (uint256 i = 0; i < worlds.length; ++i) {
            w = worlds[i];
            _;
        }
    }

    function setUp() public virtual {
        vm.warp(NOW);
        EntryPoints.deploy(vm);
        counter = new Counter();
        worlds[0] = _world("0.7", EntryPoints.V07);
        worlds[1] = _world("0.8", EntryPoints.V08);
        worlds[2] = _world("0.9", EntryPoints.V09);
        worlds[3] = _world("0.9, parallel", EntryPoints.V09);
        worlds[3].parallel = true;
        vm.deal(STRANGER, 100 ether);
        vm.deal(OWNER, 100 ether);
    }

    function _world(string memory version, address entryPoint) private returns (World memory world) {
        world.version = version;
        world.entryPoint = IEntryPointUnderTest(entryPoint);
        world.paymaster = _paymaster(entryPoint);
        world.account = new TestAccount(entryPoint);
        world.paymaster.deposit{value: DEPOSIT}();
        vm.label(entryPoint, string.concat("EntryPoint ", version));
    }

    function _paymaster(address entryPoint) internal returns (StipendPaymaster) {
        address[] memory signers = _two(vm.addr(SIGNER_KEY), vm.addr(STANDBY_KEY));
        return new StipendPaymaster(entryPoint, OWNER, signers, GUARDIAN, VAULT);
    }

    /// @dev Runs the constructor at a place of our choice, because the code holds hashes of its own address.
    function _deployAt(address place, address entryPoint, address[] memory signers)
        internal
        returns (StipendPaymaster)
    {
        vm.etch(
            place,
            bytes.concat(type(StipendPaymaster).creationCode, abi.encode(entryPoint, OWNER, signers, GUARDIAN, VAULT))
        );
        (bool done, bytes memory code) = place.call("");
        vm.assertTrue(done, "the constructor reverted");
        vm.etch(place, code);
        return StipendPaymaster(place);
    }

    function _two(address first, address second) internal pure returns (address[] memory list) {
        list = new address[](2);
        (list[0], list[1]) = (first, second);
    }

    /// @dev An operation of the world's account that counts once; signed by nobody.
    function _operation() internal view returns (PackedUserOperation memory op) {
        op.sender = address(w.account);
        op.nonce = w.entryPoint.getNonce(op.sender, 0);
        op.callData = abi.encodeCall(TestAccount.execute, (address(counter), 0, abi.encodeCall(Counter.increment, ())));
        op.accountGasLimits = _pack(150_000, 100_000);
        op.preVerificationGas = 50_000;
        op.gasFees = _pack(1 gwei, 2 gwei);
        op.paymasterAndData = _header(address(w.paymaster), 100_000, 0, 0, NOW + 600);
    }

    function _pack(uint128 high, uint128 low) internal pure returns (bytes32) {
        return bytes32(uint256(high) << 128 | low);
    }

    function _header(
        address paymaster,
        uint128 verificationGas,
        uint128 postOpGas,
        uint48 validAfter,
        uint48 validUntil
    ) internal pure returns (bytes memory) {
        return abi.encodePacked(paymaster, verificationGas, postOpGas, validAfter, validUntil);
    }

    /// @dev `op` with the signature of `key` behind the header of its paymasterAndData.
    function _signed(PackedUserOperation memory op, uint256 key) internal view returns (PackedUserOperation memory) {
        op = _withSignature(op, new bytes(64));
        bytes32 digest = w.parallel ? w.paymaster.digestOfHash(_userOpHash(op)) : w.paymaster.digest(op);
        (bytes32 r, bytes32 vs) = vm.signCompact(key, digest);
        return _withSignature(op, abi.encodePacked(r, vs));
    }

    function _withSignature(PackedUserOperation memory op, bytes memory signature)
        internal
        view
        returns (PackedUserOperation memory)
    {
        bytes memory header = op.paymasterAndData;
        assembly ("memory-safe") {
            mstore(header, 64)
        }
        op.paymasterAndData = bytes.concat(header, signature, w.parallel ? PARALLEL_SUFFIX : bytes(""));
        return op;
    }

    /// @dev What the EntryPoint hands to the paymaster. It refuses some operations before, which then have no hash.
    function _userOpHash(PackedUserOperation memory op) internal view returns (bytes32) {
        try w.entryPoint.getUserOpHash(op) returns (bytes32 hash) {
            return hash;
        } catch {
            return keccak256(abi.encode(op.sender, op.nonce));
        }
    }

    /// @dev A well-formed operation that the signer has signed.
    function _sponsored() internal view returns (PackedUserOperation memory) {
        return _signed(_operation(), SIGNER_KEY);
    }

    /// @dev What the paymaster answers to the EntryPoint, and that the answer has the one size v0.9 accepts.
    function _validate(PackedUserOperation memory op) internal returns (uint256 validationData) {
        bytes memory call = abi.encodeCall(StipendPaymaster.validatePaymasterUserOp, (op, _userOpHash(op), 0));
        vm.prank(address(w.entryPoint));
        (bool done, bytes memory answer) = address(w.paymaster).call(call);
        vm.assertTrue(done, _on("validation reverted"));
        vm.assertEq(answer.length, 96, _on("size of the answer"));
        bytes memory context;
        (context, validationData) = abi.decode(answer, (bytes, uint256));
        vm.assertEq(context.length, 0, _on("size of the context"));
    }

    function _assertAccepted(PackedUserOperation memory op) internal {
        vm.assertEq(uint160(_validate(op)), 0, _on("refused"));
    }

    function _assertRefused(PackedUserOperation memory op) internal {
        vm.assertEq(uint160(_validate(op)), SIG_VALIDATION_FAILED, _on("accepted"));
    }

    function _handle(PackedUserOperation memory op) internal {
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        _handle(ops);
    }

    function _handle(PackedUserOperation[] memory ops) internal {
        vm.prank(BUNDLER, BUNDLER);
        w.entryPoint.handleOps(ops, BENEFICIARY);
    }

    /// @dev The EntryPoint refuses the whole bundle for `reason`.
    function _assertBundleRefused(PackedUserOperation memory op, string memory reason) internal {
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        vm.expectRevert(abi.encodeWithSelector(IEntryPointUnderTest.FailedOp.selector, 0, reason));
        vm.prank(BUNDLER, BUNDLER);
        w.entryPoint.handleOps(ops, BENEFICIARY);
    }

    /// @dev Where a `TestAccountFactory` puts the account of `salt`.
    function _create2Address(address factory, bytes32 salt) internal view returns (address) {
        bytes32 initCodeHash =
            keccak256(bytes.concat(type(TestAccount).creationCode, abi.encode(address(w.entryPoint))));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", factory, salt, initCodeHash)))));
    }

    /// @dev Says on which EntryPoint an assertion failed.
    function _on(string memory what) internal view returns (string memory) {
        return string.concat(what, " on EntryPoint ", w.version);
    }
}
