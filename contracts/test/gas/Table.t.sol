// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {
    PackedUserOperation as PackedUserOperationOfInfinitism
} from "@account-abstraction/contracts-v07/interfaces/PackedUserOperation.sol";
import {PackedUserOperation as PackedUserOperationOfOz} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {PackedUserOperation} from "../../src/interfaces/PackedUserOperation.sol";
import {EntryPoints, IEntryPointUnderTest} from "../helpers/EntryPoints.sol";
import {Bench} from "./Bench.sol";
import {AcceptAllPaymaster, InfinitismPaymaster, OpenZeppelinPaymaster} from "./Contenders.sol";

/// @notice Writes what every contender costs on every EntryPoint to target/bench/gas.json.
contract TableTest is Bench {
    string private _rows;

    function test_table() public {
        _measureAll("0.7", EntryPoints.V07);
        _measureAll("0.8", EntryPoints.V08);
        _measureAll("0.9", EntryPoints.V09);
        vm.writeFile("target/bench/gas.json", string.concat('{"rows":[', _rows, "\n]}\n"));
    }

    function _measureAll(string memory version, address entryPoint) private {
        address signer = vm.addr(HOT_KEY);
        bytes memory arguments = abi.encode(entryPoint, signer);
        address floor = _deploy(entryPoint, bytes.concat(type(AcceptAllPaymaster).creationCode, arguments));
        address infinitism = _deploy(entryPoint, bytes.concat(type(InfinitismPaymaster).creationCode, arguments));
        address openZeppelin = _deploy(entryPoint, bytes.concat(type(OpenZeppelinPaymaster).creationCode, arguments));
        address stipend = _stipend(entryPoint);

        _addRows(version, entryPoint, Form("floor (accepts all)", "none", floor, _nothing));
        _addRows(version, entryPoint, Form("eth-infinitism VerifyingPaymaster", "sequential", infinitism, _infinitism));
        _addRows(version, entryPoint, Form("OpenZeppelin PaymasterSigner", "sequential", openZeppelin, _openZeppelin));
        _addRows(version, entryPoint, Form("Stipend", "sequential", stipend, _sequential));
        // v0.7 knows no marker: it takes it for a factory.
        if (entryPoint == EntryPoints.V07) return;
        _addRows(version, entryPoint, Form("Stipend", "sequential, EIP-7702", stipend, _sequential));
        // v0.8 hashes the paymaster's signature like everything else, so that it cannot sign its own hash.
        if (entryPoint == EntryPoints.V08) return;
        _addRows(version, entryPoint, Form("Stipend", "parallel", stipend, _parallel));
    }

    function _addRows(string memory version, address entryPoint, Form memory form) private {
        for (uint256 size = 1; size <= MOST_OPERATIONS; size += 2) {
            Cost memory cost = _measure(entryPoint, form, size);
            string memory row = string.concat(
                '{"contract":"', form.contractName, '","entryPoint":"', version, '","form":"', form.form, '","bundle":'
            );
            row = string.concat(row, vm.toString(size), ',"deltaPerOp":', vm.toString(cost.deltaPerOp));
            row = string.concat(row, ',"validateGas":', vm.toString(cost.validateGas));
            row = string.concat(row, ',"paymasterDataBytes":', vm.toString(cost.paymasterDataBytes), "}");
            _rows = string.concat(_rows, bytes(_rows).length == 0 ? "\n" : ",\n", row);
        }
    }

    function _nothing(address, IEntryPointUnderTest, PackedUserOperation memory) private pure returns (bytes memory) {
        return "";
    }

    function _infinitism(address paymaster, IEntryPointUnderTest, PackedUserOperation memory op)
        private
        view
        returns (bytes memory)
    {
        bytes32 hash = InfinitismPaymaster(paymaster).getHash(_ofInfinitism(op), VALID_UNTIL, 0);
        return bytes.concat(
            abi.encode(VALID_UNTIL, uint48(0)),
            _signature(keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash)))
        );
    }

    function _openZeppelin(address paymaster, IEntryPointUnderTest, PackedUserOperation memory op)
        private
        view
        returns (bytes memory)
    {
        bytes32 digest = OpenZeppelinPaymaster(paymaster).signable(_ofOpenZeppelin(op), 0, VALID_UNTIL);
        return bytes.concat(abi.encodePacked(uint48(0), VALID_UNTIL), _signature(digest));
    }

    function _signature(bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(HOT_KEY, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The same type under the name that their packages give it.
    function _ofInfinitism(PackedUserOperation memory op)
        private
        pure
        returns (PackedUserOperationOfInfinitism memory)
    {
        return abi.decode(abi.encode(op), (PackedUserOperationOfInfinitism));
    }

    function _ofOpenZeppelin(PackedUserOperation memory op) private pure returns (PackedUserOperationOfOz memory) {
        return abi.decode(abi.encode(op), (PackedUserOperationOfOz));
    }
}
