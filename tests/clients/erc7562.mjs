// Holds the paymasters of a stack, and a paymaster that breaks rules, against ERC-7562
// (https://eips.ethereum.org/EIPS/eip-7562) with the tracer and the rules of a real bundler. Takes `{rpcUrl, utility,
// signerKey, entryPoints, paymasters}` as JSON on stdin, the last two by version ("0.7" …); prints a JSON array of
// `{entryPoint, paymaster, operation, expected, found, words, by}`. `expected` and `found` name a rule, or are null where
// none is broken; `words` is what `by` said of it. Whether they agree is for the reader to judge.
import { text } from 'node:stream/consumers'
import { check, simulations } from './erc7562/alto.mjs'
import { breaking, makeAccounts, makeRuleBreakers, open, sponsored } from './erc7562/world.mjs'

const NOT_TRIED = undefined

// What each deed of contracts/test/erc7562/RuleBreaker.sol breaks without a stake, and with one. A stake opens storage and
// balances; of what it does not open, one deed stands for all like it.
const DEEDS = {
  nothing: [null, null],
  readsSlotOfSender: [null, null],
  readsTimestamp: ['OP-011', 'OP-011'],
  readsNumber: ['OP-011', NOT_TRIED],
  readsOrigin: ['OP-011', NOT_TRIED],
  readsGasPrice: ['OP-011', NOT_TRIED],
  readsCoinbase: ['OP-011', NOT_TRIED],
  readsPrevrandao: ['OP-011', NOT_TRIED],
  readsGasLimit: ['OP-011', NOT_TRIED],
  readsBaseFee: ['OP-011', NOT_TRIED],
  readsBlockHash: ['OP-011', NOT_TRIED],
  readsBlobHash: ['OP-011', NOT_TRIED],
  readsBlobBaseFee: ['OP-011', NOT_TRIED],
  readsGas: ['OP-012', 'OP-012'],
  runsOutOfGas: ['OP-020', 'OP-020'],
  creates: ['OP-011, OP-031', 'OP-011, OP-031'],
  createsAtAddress: ['OP-011, OP-031', NOT_TRIED],
  callsNobody: ['OP-041', 'OP-041'],
  asksEntryPoint: ['OP-054', 'OP-054'],
  hashesEntryPoint: ['OP-054', NOT_TRIED],
  sendsEther: ['OP-061', 'OP-061'],
  readsOwnBalance: ['OP-080', null],
  readsBalance: ['OP-080', null],
  readsOwnSlot: ['STO-031', null],
  writesOwnSlot: ['STO-031', null],
  readsTransientSlot: ['STO-031', null],
  writesTransientSlot: ['STO-031', null],
  readsSlotOfItself: ['STO-032, STO-033', null],
  readsSlotOfOther: ['STO-032, STO-033', null],
  writesSlotOfOther: ['STO-033', 'STO-033'],
  returnsContext: ['EREP-050', null],
}

/** Every operation to check on one EntryPoint: `{paymaster, operation, expected, op}`. */
async function cases(connection, { version, entryPoint, ours, signerKey }) {
  const accounts = await makeAccounts(connection, version, entryPoint)
  const breakers = await makeRuleBreakers(connection, entryPoint)
  const forms = version === '0.9' ? ['sequential', 'parallel'] : ['sequential']
  const all = []
  for (const form of forms) {
    for (const [kind, account] of Object.entries(accounts)) {
      const op = await sponsored(connection, account, entryPoint, ours, signerKey, form)
      all.push({ paymaster: 'StipendPaymaster', operation: `${form} form, ${kind} account`, expected: null, op })
    }
  }
  for (const [deed, [unstaked, staked]] of Object.entries(DEEDS)) {
    for (const [stake, expected] of Object.entries({ unstaked, staked })) {
      if (expected === NOT_TRIED) continue
      all.push({ paymaster: `RuleBreaker, ${stake}`, operation: deed, expected, op: breaking(accounts.existing, breakers[stake], deed) })
    }
  }
  const op = breaking(accounts.created, breakers.unstaked, 'creates')
  all.push({ paymaster: 'RuleBreaker, unstaked', operation: 'creates, created account', expected: 'OP-011', op })
  return all
}

async function table({ rpcUrl, utility, signerKey, entryPoints, paymasters }) {
  const connection = await open(rpcUrl)
  const simulators = await simulations(connection.node, rpcUrl, utility)
  const rows = []
  for (const [version, entryPoint] of Object.entries(entryPoints)) {
    for (const { op, ...row } of await cases(connection, { version, entryPoint, ours: paymasters[version], signerKey })) {
      const broken = await check({ node: connection.node, simulators, version, entryPoint, op }).catch((error) => {
        throw new Error(`EntryPoint ${version}, ${row.paymaster}, ${row.operation}: ${error.message}`, { cause: error })
      })
      rows.push({ entryPoint: version, ...row, found: broken?.rule ?? null, words: broken?.words ?? null, by: broken?.by ?? null })
    }
  }
  return rows
}

process.stdout.write(`${JSON.stringify(await table(JSON.parse(await text(process.stdin))))}\n`)
