// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EntryPoints} from "../helpers/EntryPoints.sol";
import {Bench} from "./Bench.sol";

/// @notice What one sponsored operation may cost, in gas over the same operation unsponsored. `.gas-snapshot` holds the
///         gas of these tests, so that a change below a bar is seen too.
contract BarsTest is Bench {
    function test_sequential_on_0_7() public {
        _assertAtMost(EntryPoints.V07, Form("stipend", "sequential", _stipend(EntryPoints.V07), _sequential), 11_100);
    }

    function test_sequential_on_0_8() public {
        _assertAtMost(EntryPoints.V08, Form("stipend", "sequential", _stipend(EntryPoints.V08), _sequential), 10_900);
    }

    function test_sequential_on_0_9() public {
        _assertAtMost(EntryPoints.V09, Form("stipend", "sequential", _stipend(EntryPoints.V09), _sequential), 11_130);
    }

    function test_parallel_on_0_9() public {
        _assertAtMost(EntryPoints.V09, Form("stipend", "parallel", _stipend(EntryPoints.V09), _parallel), 11_250);
    }

    function _assertAtMost(address entryPoint, Form memory form, int256 most) private {
        int256 delta = _measure(entryPoint, form, 1).deltaPerOp;
        vm.assertTrue(delta <= most, string.concat("gas per operation: ", vm.toString(delta)));
    }
}
