// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PackedUserOperation} from "../../src/interfaces/PackedUserOperation.sol";
import {Vm} from "../Test.sol";

/// @notice What bundlers and tests need of an EntryPoint; the same in v0.7, v0.8 and v0.9.
interface IEntryPointUnderTest {
    struct DepositInfo {
        uint256 deposit;
        bool staked;
        uint112 stake;
        uint32 unstakeDelaySec;
        uint48 withdrawTime;
    }

    event UserOperationEvent(
        bytes32 indexed userOpHash,
        address indexed sender,
        address indexed paymaster,
        uint256 nonce,
        bool success,
        uint256 actualGasCost,
        uint256 actualGasUsed
    );

    error FailedOp(uint256 opIndex, string reason);

    function handleOps(PackedUserOperation[] calldata ops, address payable beneficiary) external;
    function getNonce(address sender, uint192 key) external view returns (uint256);
    function balanceOf(address account) external view returns (uint256);
    function getDepositInfo(address account) external view returns (DepositInfo memory);
    function getUserOpHash(PackedUserOperation calldata op) external view returns (bytes32);
}

/// @notice Puts the three EntryPoints, byte for byte as they are on public chains, at their canonical addresses.
library EntryPoints {
    address internal constant V07 = 0x0000000071727De22E5E9d8BAf0edAc6f37da032;
    address internal constant V08 = 0x4337084D9E255Ff0702461CF8895CE9E3b5Ff108;
    address internal constant V09 = 0x433709009B8330FDa32311DF1C2AFA402eD8D009;

    address private constant V09_SENDER_CREATOR = 0x0A630a99Df908A81115A3022927Be82f9299987e;
    address private constant DETERMINISTIC_DEPLOYER = 0x4e59b44847b379578588920cA78FbF26c0B4956C;

    /// @dev v0.7 and v0.8 are deployed from the creation code that their packages carry, with the salts that give the
    ///      canonical addresses: another code would land elsewhere. The package of v0.9 is a release candidate, so its
    ///      final code comes from a package of runtimes as they are on chain 1.
    function deploy(Vm vm) internal {
        _create2(vm, V07, "contracts-v07", bytes32(0x90d8084deab30c2a37c45e8d47f49f2f7965183cb6990a98943ef94940681de3));
        _create2(vm, V08, "contracts-v08", bytes32(0x0a59dbff790c23c976a548690c27297883cc66b4c67024f9117b0238995e35e9));

        vm.etch(V09_SENDER_CREATOR, _runtime(vm, "0x0A630a99Df908A81115A3022927Be82f9299987e"));
        bytes memory code = _runtime(vm, "0x433709009B8330FDa32311DF1C2AFA402eD8D009");
        _replaceOnce(code, _domainSeparator(1), _domainSeparator(block.chainid));
        _replaceOnce(code, bytes32(uint256(1)), bytes32(block.chainid));
        vm.etch(V09, code);
    }

    function _create2(Vm vm, address expected, string memory package, bytes32 salt) private {
        string memory path = string.concat("node_modules/@account-abstraction/", package, "/artifacts/EntryPoint.json");
        bytes memory creation = vm.parseJsonBytes(vm.readFile(path), ".bytecode");
        (bool done,) = DETERMINISTIC_DEPLOYER.call(bytes.concat(salt, creation));
        require(done && expected.code.length != 0, string.concat(path, " is not the canonical EntryPoint"));
    }

    function _runtime(Vm vm, string memory name) private view returns (bytes memory) {
        return vm.readFileBinary(string.concat("node_modules/hardhat-predeploy/bin/", name, ".bytecode"));
    }

    /// @dev The EIP-712 domain that EntryPoint v0.9 has cached in its code.
    function _domainSeparator(uint256 chainId) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("ERC4337"),
                keccak256("1"),
                chainId,
                V09
            )
        );
    }

    /// @dev Puts one word into `code` in the place of another that occurs exactly once, at any byte.
    function _replaceOnce(bytes memory code, bytes32 from, bytes32 to) private pure {
        uint256 found;
        uint256 place;
        for (uint256 i = 0; i + 32 <= code.length; ++i) {
            bytes32 word;
            assembly ("memory-safe") {
                word := mload(add(add(code, 0x20), i))
            }
            if (word == from) (found, place) = (found + 1, i);
        }
        require(found == 1, "the runtime of EntryPoint v0.9 is not the one known");
        assembly ("memory-safe") {
            mstore(add(add(code, 0x20), place), to)
        }
    }
}
