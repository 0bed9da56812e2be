// ERC-7562 as Alto checks it: its tracer, run by the node, and its parser of what the tracer saw; neither is changed or
// copied.
//
// Alto's safe mode uses both, and refuses every operation of EntryPoint v0.7 and later (0.0.20), because it looks for the
// result where it is not. It traces `simulateValidation` of Alto's own contract, which calls the EntryPoint's
// `delegateAndRevert`. The contract returns the result, but the tracer hears nothing of the outermost call's end; the last
// that it hears of is the revert `DelegateAndRevert(bool,bytes)` below it. Safe mode takes that for a revert named
// `ValidationResult`, which the contract's ABI does not have. So here an `eth_call` of the same call tells the result.
//
// Four flaws more let violations through. What is done about each makes the check stricter, and for each there is a control
// that it alone catches:
// - The tracer takes a call for reverted unless its error is `null`, and nodes (geth too) say `undefined`: no call seems to
//   have returned anything, a context least of all. `outcomes` tells the tracer what it expects.
// - anvil tells the tracer the least that an opcode costs, not what it will cost. `outcomes` learns of "out of gas" from how
//   a call ended.
// - The parser knows `validatePaymasterUserOp` by the selector of v0.6 alone when it looks for a context. The call gets that
//   name.
// - The parser's lists of blocked opcodes differ between EntryPoints, forget some, do not hold for the staked, and let a
//   paymaster use CREATE beside a factory. `BLOCKED` holds whoever the paymaster is.
//
// One weakness remains: any stake is enough, be it one wei for a second. Our own paymaster is checked without one.
import { decodeFunctionResult, encodeFunctionData, numberToHex } from 'viem'
import { deploySimulationsContract } from '../../../node_modules/@pimlico/alto/esm/cli/deploySimulationsContract.js'
import { bundlerCollectorTracer } from '../../../node_modules/@pimlico/alto/esm/rpc/validation/BundlerCollectorTracerV07.js'
import { tracerResultParserV07 } from '../../../node_modules/@pimlico/alto/esm/rpc/validation/TracerResultParserV07.js'
import { getTracerBodyString } from '../../../node_modules/@pimlico/alto/esm/rpc/validation/tracer.js'
import { pimlicoSimulationsAbi } from '../../../node_modules/@pimlico/alto/esm/types/contracts/PimlicoSimulations.js'
import { toPackedUserOp } from '../../../node_modules/@pimlico/alto/esm/utils/userop.js'

export { toPackedUserOp }

const DETERMINISTIC_DEPLOYER = '0x4e59b44847b379578588920cA78FbF26c0B4956C'
const VALIDATE_PAYMASTER_USER_OP = '0x52b7512c'
const VALIDATE_PAYMASTER_USER_OP_V06 = '0xf465c77e'

// What no paymaster may use (https://eips.ethereum.org/EIPS/eip-7562#opcode-rules), by the names that nodes give. The tracer
// counts GAS only where no call follows it.
const BLOCKED = {
  'OP-011':
    'ORIGIN GASPRICE BLOCKHASH COINBASE TIMESTAMP NUMBER DIFFICULTY PREVRANDAO GASLIMIT BASEFEE BLOBHASH BLOBBASEFEE CREATE INVALID SELFDESTRUCT',
  'OP-012': 'GAS',
  'OP-031': 'CREATE2',
}

// The parser names no rules, so they are known by its words; what it says of another entity is none of these. It says CREATE2
// for CREATE too, and does not tell slots that belong to the paymaster in another contract (STO-032) from those that do not
// (STO-033). The ERC has given up EREP-050 since; whoever follows an older draft has not.
const RULES = [
  ['OP-080', /^paymaster uses banned opcode: (BALANCE|SELFBALANCE)$/],
  ['OP-012', /^paymaster uses banned opcode: GAS$/],
  ['OP-011, OP-031', /^paymaster uses banned opcode: CREATE2$/],
  ['OP-011', /^paymaster uses banned opcode: /],
  ['OP-020', /^paymaster internally reverts on oog$/],
  ['OP-041', /^paymaster accesses un-deployed contract address/],
  ['OP-054', /^illegal call into EntryPoint|^paymaster accesses EntryPoint contract address/],
  ['OP-061', /CALL with value$/],
  ['STO-031', /^unstaked paymaster accessed paymaster slot/],
  ['STO-032, STO-033', /^unstaked paymaster accessed 0x/],
  ['STO-033', /^paymaster has forbidden/],
  ['EREP-050', /^unstaked paymaster must not return context$/],
]

/** Changes what Alto's tracer hears. It goes to the node as text, with the tracer, and so knows nothing of this file. */
function outcomes(tracer) {
  const exit = tracer.exit
  tracer.exit = function (frame) {
    const error = frame.getError() ?? null
    if (/out ?of ?gas/i.test(error ?? '') && this.currentLevel) this.currentLevel.oog = true
    return exit.call(this, { getError: () => error, getGasUsed: () => frame.getGasUsed(), getOutput: () => frame.getOutput() })
  }
  return tracer
}

const TRACER = `(${outcomes})(${getTracerBodyString(bundlerCollectorTracer)})`

/** Alto's contracts that simulate, where its bundler puts them with the account at `utility`; they are deployed if they are not there. */
export async function simulations(node, rpcUrl, utility) {
  const deployed = await deploySimulationsContract({
    publicClient: node,
    logger: console,
    args: { rpcUrl, deterministicDeployerAddress: DETERMINISTIC_DEPLOYER, utilityPrivateKey: { address: utility, type: 'json-rpc' } },
  })
  return {
    caller: deployed.pimlicoSimulationContract,
    '0.7': deployed.entrypointSimulationContractV7,
    '0.8': deployed.entrypointSimulationContractV8,
    '0.9': deployed.entrypointSimulationContractV9,
  }
}

/**
 * The first rule that the validation of an operation breaks: `{rule, words, by}`, or null. Throws when the operation would not even be valid: only
 * what would be included says anything about its paymaster.
 */
export async function check({ node, simulators, version, entryPoint, op }) {
  const call = {
    to: simulators.caller,
    data: encodeFunctionData({
      abi: pimlicoSimulationsAbi,
      functionName: 'simulateValidation',
      args: [simulators[version], entryPoint, [], toPackedUserOp(op)],
    }),
  }
  // Both have to see the same state, while others work on the chain.
  const block = numberToHex(await node.getBlockNumber({ cacheTime: 0 }))
  const result = decodeFunctionResult({
    abi: pimlicoSimulationsAbi,
    functionName: 'simulateValidation',
    data: await node.request({ method: 'eth_call', params: [call, block] }),
  })
  const { accountValidationData, paymasterValidationData } = result.returnInfo
  if (BigInt.asUintN(160, accountValidationData | paymasterValidationData) !== 0n) throw new Error('nobody agreed to the operation')

  const trace = await node.request({ method: 'debug_traceCall', params: [call, block, { tracer: TRACER }] })
  const phase = trace.callsFromEntryPoint.find(({ topLevelMethodSig }) => topLevelMethodSig === VALIDATE_PAYMASTER_USER_OP)
  if (phase?.topLevelTargetAddress !== op.paymaster.toLowerCase()) throw new Error('the trace has not seen the paymaster')
  return brokenByAlto(op, trace, result, entryPoint) ?? brokenOpcode(phase.opcodes)
}

function brokenByAlto(op, trace, result, entryPoint) {
  const entity = (info, addr) => (addr ? { ...info, addr } : undefined)
  const validation = {
    ...result,
    senderInfo: entity(result.senderInfo, op.sender),
    factoryInfo: entity(result.factoryInfo, op.factory),
    paymasterInfo: entity(result.paymasterInfo, op.paymaster),
  }
  const named = (call) => (call.method === VALIDATE_PAYMASTER_USER_OP ? { ...call, method: VALIDATE_PAYMASTER_USER_OP_V06 } : call)
  try {
    tracerResultParserV07(op, { ...trace, calls: trace.calls.map(named) }, validation, entryPoint.toLowerCase())
    return null
  } catch ({ message }) {
    const [rule] = RULES.find(([, words]) => words.test(message)) ?? [`a rule unknown to us: ${message}`]
    return { rule, words: message, by: 'alto' }
  }
}

function brokenOpcode(used) {
  for (const [rule, opcodes] of Object.entries(BLOCKED)) {
    const opcode = opcodes.split(' ').find((name) => used[name] !== undefined)
    if (opcode) return { rule, words: `paymaster uses ${opcode}`, by: 'erc' }
  }
  return null
}
