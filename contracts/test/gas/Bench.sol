// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StipendPaymaster} from "../../src/StipendPaymaster.sol";
import {PackedUserOperation} from "../../src/interfaces/PackedUserOperation.sol";
import {Test} from "../Test.sol";
import {EntryPoints, IEntryPointUnderTest} from "../helpers/EntryPoints.sol";
import {TestAccount} from "../helpers/TestAccount.sol";

interface IDepositTo {
    function depositTo(address account) external payable;
}

/// @notice What sponsoring adds to a bundle: the gas of `handleOps` with sponsored operations, less that of the same
///         operations paid by their accounts. Needs `isolate`, by which every call is a transaction of its own.
/// @dev    Everything that has a balance, a deposit or a nonce has one before, so that no slot goes from zero. The mean
///         is of eight bundles, because signatures and nonces differ in their zero bytes.
abstract contract Bench is Test {
    uint256 internal constant HOT_KEY = 0xA11CE;
    address internal constant BUNDLER = address(0xB1D);
    address payable internal constant BENEFICIARY = payable(address(0xBEEF));
    address internal constant TARGET = address(0x7A26E7);

    uint256 internal constant MOST_OPERATIONS = 5;
    uint256 internal constant BUNDLES = 8;

    // Without a zero byte in what comes into the window: a time costs what most times cost.
    uint48 internal constant NOW = 1_800_000_123;
    uint48 internal constant VALID_UNTIL = NOW + 600;

    /// @dev Puts the paymaster's signature behind the header of an operation.
    struct Form {
        string contractName;
        string form;
        address paymaster;
        function(address, IEntryPointUnderTest, PackedUserOperation memory) internal view returns (bytes memory) data;
    }

    /// @dev The delta of a large bundle may be below zero: one deposit is written instead of one for each account.
    struct Cost {
        int256 deltaPerOp;
        uint256 validateGas;
        uint256 paymasterDataBytes;
    }

    /// @dev The accounts of an EntryPoint's bundles, as contracts and as EIP-7702 delegations to the first of them.
    mapping(address entryPoint => address[]) private _accounts;
    mapping(address entryPoint => address[]) private _delegations;

    function setUp() public {
        vm.warp(NOW);
        vm.deal(BUNDLER, 1 ether);
        vm.deal(BENEFICIARY, 1 ether);
        EntryPoints.deploy(vm);
        _addAccounts(EntryPoints.V07);
        _addAccounts(EntryPoints.V08);
        _addAccounts(EntryPoints.V09);
    }

    function _addAccounts(address entryPoint) private {
        for (uint256 i = 0; i < MOST_OPERATIONS; ++i) {
            address account = address(new TestAccount(entryPoint));
            address delegation = vm.addr(uint256(keccak256(abi.encode(entryPoint, i))));
            vm.etch(delegation, abi.encodePacked(hex"ef0100", account));
            _accounts[entryPoint].push(account);
            _delegations[entryPoint].push(delegation);
            _use(entryPoint, account);
            _use(entryPoint, delegation);
        }
    }

    function _use(address entryPoint, address account) private {
        IDepositTo(entryPoint).depositTo{value: 1 ether}(account);
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = _operation(IEntryPointUnderTest(entryPoint), account);
        _handle(IEntryPointUnderTest(entryPoint), ops);
    }

    /// @dev The instance with the most signers, at an address without a zero byte.
    function _stipend(address entryPoint) internal returns (address paymaster) {
        address[] memory signers = new address[](4);
        signers[0] = vm.addr(HOT_KEY);
        for (uint256 i = 1; i < 4; ++i) {
            signers[i] = vm.addr(HOT_KEY + i);
        }
        return _deploy(
            entryPoint,
            bytes.concat(
                type(StipendPaymaster).creationCode,
                abi.encode(entryPoint, BUNDLER, signers, address(0x6A2D), address(0x7A017))
            )
        );
    }

    /// @dev Deploys at the first address without a zero byte, and fills the deposit.
    function _deploy(address entryPoint, bytes memory creation) internal returns (address deployed) {
        bytes32 hash = keccak256(creation);
        uint256 salt;
        do {
            deployed =
                address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), bytes32(salt), hash)))));
        } while (_hasZeroByte(deployed) && ++salt != 0);
        address made;
        assembly ("memory-safe") {
            made := create2(0, add(creation, 0x20), mload(creation), salt)
        }
        require(made == deployed && made.code.length != 0, "not deployed");
        IDepositTo(entryPoint).depositTo{value: 10 ether}(deployed);
    }

    function _hasZeroByte(address place) private pure returns (bool) {
        for (uint256 i = 0; i < 20; ++i) {
            if (bytes20(place)[i] == 0) return true;
        }
        return false;
    }

    /// @dev The means of eight bundles of `size` operations.
    function _measure(address entryPoint_, Form memory form, uint256 size) internal returns (Cost memory cost) {
        IEntryPointUnderTest entryPoint = IEntryPointUnderTest(entryPoint_);
        int256 delta;
        for (uint256 i = 0; i < BUNDLES; ++i) {
            PackedUserOperation[] memory ops = _bundle(entryPoint, form.form, size);
            uint256 selfPaid = _handle(entryPoint, ops);

            ops = _bundle(entryPoint, form.form, size);
            for (uint256 j = 0; j < size; ++j) {
                ops[j].paymasterAndData = abi.encodePacked(form.paymaster, uint128(60_000), uint128(0));
                ops[j].paymasterAndData =
                    bytes.concat(ops[j].paymasterAndData, form.data(form.paymaster, entryPoint, ops[j]));
            }
            cost.validateGas += _validate(entryPoint_, form.paymaster, ops[0]);
            cost.paymasterDataBytes = ops[0].paymasterAndData.length - 52;
            uint256 deposit = entryPoint.balanceOf(form.paymaster);
            delta += int256(_handle(entryPoint, ops)) - int256(selfPaid);
            require(entryPoint.balanceOf(form.paymaster) < deposit, "somebody else paid");
        }
        cost.deltaPerOp = delta / int256(BUNDLES * size);
        cost.validateGas /= BUNDLES;
    }

    function _bundle(IEntryPointUnderTest entryPoint, string memory form, uint256 size)
        private
        view
        returns (PackedUserOperation[] memory ops)
    {
        bool delegated = keccak256(bytes(form)) == keccak256("sequential, EIP-7702");
        ops = new PackedUserOperation[](size);
        for (uint256 i = 0; i < size; ++i) {
            address account = (delegated ? _delegations : _accounts)[address(entryPoint)][i];
            ops[i] = _operation(entryPoint, account);
            if (delegated) ops[i].initCode = hex"7702";
        }
    }

    /// @dev 228 bytes of callData and 65 of signature, as a transfer of a token by a usual account has them.
    function _operation(IEntryPointUnderTest entryPoint, address account)
        private
        view
        returns (PackedUserOperation memory op)
    {
        op.sender = account;
        op.nonce = entryPoint.getNonce(account, 0);
        bytes memory call = bytes.concat(bytes4(0xa9059cbb), abi.encode(BENEFICIARY, 1 ether));
        op.callData = abi.encodeCall(TestAccount.execute, (TARGET, 0, call));
        op.accountGasLimits = bytes32(uint256(150_000) << 128 | 100_000);
        op.preVerificationGas = 50_000;
        op.gasFees = bytes32(uint256(1 gwei) << 128 | 2 gwei);
        op.signature = bytes.concat(keccak256("r"), keccak256("s"), hex"1b");
        require(op.callData.length == 228, "not the operation that all are measured by");
    }

    /// @dev Sends a bundle and returns the gas that its transaction used.
    function _handle(IEntryPointUnderTest entryPoint, PackedUserOperation[] memory ops) private returns (uint256) {
        vm.prank(BUNDLER, BUNDLER);
        entryPoint.handleOps(ops, BENEFICIARY);
        return vm.lastCallGas().gasTotalUsed;
    }

    /// @dev The gas of validation alone: of its transaction, less what every transaction with these bytes costs.
    function _validate(address entryPoint, address paymaster, PackedUserOperation memory op) private returns (uint256) {
        bytes32 hash = IEntryPointUnderTest(entryPoint).getUserOpHash(op);
        bytes memory call = abi.encodeCall(StipendPaymaster.validatePaymasterUserOp, (op, hash, 1 ether));
        vm.prank(entryPoint);
        (bool done, bytes memory answer) = paymaster.call(call);
        uint256 used = vm.lastCallGas().gasTotalUsed;
        (, uint256 validationData) = abi.decode(answer, (bytes, uint256));
        require(done && uint160(validationData) == 0, "refused");
        uint256 intrinsic = 21_000;
        for (uint256 i = 0; i < call.length; ++i) {
            intrinsic += call[i] == 0 ? 4 : 16;
        }
        return used - intrinsic;
    }

    function _sequential(address paymaster, IEntryPointUnderTest, PackedUserOperation memory op)
        internal
        view
        returns (bytes memory)
    {
        bytes memory window = abi.encodePacked(uint48(0), VALID_UNTIL);
        op.paymasterAndData = bytes.concat(op.paymasterAndData, window);
        (bytes32 r, bytes32 vs) = vm.signCompact(HOT_KEY, StipendPaymaster(paymaster).digest(op));
        return abi.encodePacked(window, r, vs);
    }

    function _parallel(address paymaster, IEntryPointUnderTest entryPoint, PackedUserOperation memory op)
        internal
        view
        returns (bytes memory)
    {
        bytes memory window = abi.encodePacked(uint48(0), VALID_UNTIL);
        bytes memory suffix = hex"004022e325a297439656";
        op.paymasterAndData = bytes.concat(op.paymasterAndData, window, new bytes(64), suffix);
        bytes32 digest = StipendPaymaster(paymaster).digestOfHash(entryPoint.getUserOpHash(op));
        (bytes32 r, bytes32 vs) = vm.signCompact(HOT_KEY, digest);
        return abi.encodePacked(window, r, vs, suffix);
    }
}
