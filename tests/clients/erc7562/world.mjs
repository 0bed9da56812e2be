// What the check needs on a chain: accounts that accept every signature, and the paymaster that breaks rules, staked and not.
// All of it is deployed by an account of this run's own, so that nobody else's nonce moves.
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { concat, createPublicClient, createWalletClient, encodeFunctionData, http, numberToHex, parseEther, slice } from 'viem'
import { entryPoint07Abi } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount, sign } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { toPackedUserOp } from './alto.mjs'

const OUT = new URL('../../../target/forge/out/', import.meta.url)
const RECEIPT_ATTEMPTS = 500
const RECEIPT_POLL_MILLISECONDS = 20
const SECONDS_OF_VALIDITY = 3600n
const UNSTAKE_DELAY_SECONDS = 86_400
const SALT = numberToHex(0, { size: 32 })

// What stands behind the window while there is no signature, and behind the signature (contracts/src/StipendPaymaster.sol).
const NO_SIGNATURE = numberToHex(0, { size: 64 })
const SUFFIX = { sequential: '0x', parallel: '0x004022e325a297439656' }

// https://eips.ethereum.org/EIPS/eip-4337#support-for-eip-7702-authorizations
const EIP7702_MARKER = '0x7702000000000000000000000000000000000000'

const artifact = (file, name = file) => {
  const { abi, bytecode } = JSON.parse(readFileSync(new URL(`${file}.sol/${name}.json`, OUT)))
  return { abi, bytecode: bytecode.object }
}
const artifacts = {
  Counter: artifact('Counter'),
  RuleBreaker: artifact('RuleBreaker'),
  StipendPaymaster: artifact('StipendPaymaster'),
  TestAccount: artifact('TestAccount'),
  TestAccountFactory: artifact('TestAccount', 'TestAccountFactory'),
}

/** A connection to the node, and the account that deploys. */
export async function open(rpcUrl) {
  const transport = http(rpcUrl)
  const node = createPublicClient({ transport })
  const chain = { ...foundry, id: await node.getChainId() }
  const account = privateKeyToAccount(generatePrivateKey())
  await node.request({ method: 'anvil_setBalance', params: [account.address, numberToHex(parseEther('100'))] })
  return { node, wallet: createWalletClient({ account, chain, transport }) }
}

// viem looks again only when there is a new block, and on a quiet chain that takes a second.
async function mined({ node }, hash) {
  for (let attempt = 0; attempt < RECEIPT_ATTEMPTS; attempt++) {
    const receipt = await node.request({ method: 'eth_getTransactionReceipt', params: [hash] })
    if (receipt?.status === '0x1') return receipt
    if (receipt) throw new Error(`transaction ${hash} reverted`)
    await setTimeout(RECEIPT_POLL_MILLISECONDS)
  }
  throw new Error(`transaction ${hash} was not mined`)
}

const write = async (connection, call) => mined(connection, await connection.wallet.writeContract(call))

async function deploy(connection, name, args = [], value = 0n) {
  const hash = await connection.wallet.deployContract({ ...artifacts[name], args, value })
  return (await mined(connection, hash)).contractAddress
}

/** The accounts of one EntryPoint, as the fields of an operation that name them: `existing`, `created`, and `delegated` from v0.8 on. */
export async function makeAccounts(connection, version, entryPoint) {
  const existing = await deploy(connection, 'TestAccount', [entryPoint])
  const accounts = { existing: { sender: existing }, created: await uncreated(connection, entryPoint) }
  if (version !== '0.7') accounts.delegated = await delegated(connection, existing)
  return accounts
}

async function uncreated(connection, entryPoint) {
  const factory = await deploy(connection, 'TestAccountFactory')
  const call = { abi: artifacts.TestAccountFactory.abi, functionName: 'createAccount', args: [entryPoint, SALT] }
  const { result: sender } = await connection.node.simulateContract({ address: factory, ...call })
  return { sender, factory, factoryData: encodeFunctionData(call) }
}

async function delegated(connection, delegate) {
  const { wallet } = connection
  const owner = privateKeyToAccount(generatePrivateKey())
  const authorization = await wallet.signAuthorization({ account: owner, contractAddress: delegate })
  await mined(connection, await wallet.sendTransaction({ to: owner.address, authorizationList: [authorization] }))
  return { sender: owner.address, factory: EIP7702_MARKER, factoryData: '0x' }
}

/** The control on one EntryPoint: `{unstaked, staked}`. */
export async function makeRuleBreakers(connection, entryPoint) {
  const { abi } = artifacts.RuleBreaker
  const counter = await deploy(connection, 'Counter')
  const [unstaked, staked] = [await ruleBreaker(connection, entryPoint, counter), await ruleBreaker(connection, entryPoint, counter)]
  await write(connection, { address: staked, abi, functionName: 'addStake', args: [UNSTAKE_DELAY_SECONDS], value: parseEther('1') })
  return { unstaked, staked }
}

async function ruleBreaker(connection, entryPoint, counter) {
  const paymaster = await deploy(connection, 'RuleBreaker', [entryPoint, counter], 1n)
  await write(connection, { address: entryPoint, abi: entryPoint07Abi, functionName: 'depositTo', args: [paymaster], value: parseEther('1') })
  return paymaster
}

/** An operation for which the rule breaker does `deed`. */
export function breaking(account, paymaster, deed) {
  const { abi } = artifacts.RuleBreaker
  const { inputs } = abi.find(({ name }) => name === deed)
  return operation(account, paymaster, encodeFunctionData({ abi, functionName: deed, args: inputs.map(() => account.sender) }))
}

/** An operation that our paymaster has agreed to, with its signature in one of the two forms. */
export async function sponsored({ node }, account, entryPoint, paymaster, signerKey, form) {
  const { timestamp } = await node.getBlock()
  const window = concat([numberToHex(0, { size: 6 }), numberToHex(timestamp + SECONDS_OF_VALIDITY, { size: 6 })])
  const signedBy = (signature) => operation(account, paymaster, concat([window, signature, SUFFIX[form]]))
  const ask = (address, abi, functionName, argument) => node.readContract({ address, abi, functionName, args: [argument] })
  const packed = toPackedUserOp(signedBy(NO_SIGNATURE))
  const { abi } = artifacts.StipendPaymaster
  const hash =
    form === 'parallel'
      ? await ask(paymaster, abi, 'digestOfHash', await ask(entryPoint, entryPoint07Abi, 'getUserOpHash', packed))
      : await ask(paymaster, abi, 'digest', packed)
  return signedBy(compact(await sign({ hash, privateKey: signerKey })))
}

/** r ‖ yParityAndS (https://eips.ethereum.org/EIPS/eip-2098). */
function compact({ r, s, yParity }) {
  return concat([r, numberToHex((BigInt(yParity) << 255n) | BigInt(s), { size: 32 })])
}

// Alto takes an operation for one of v0.7 or later by the fields `factory` and `paymaster`, which have to be there even when
// they are empty.
function operation(account, paymaster, paymasterData) {
  return {
    factory: null,
    factoryData: null,
    ...account,
    nonce: 0n,
    callData: '0x',
    callGasLimit: 100_000n,
    verificationGasLimit: 1_000_000n,
    preVerificationGas: 50_000n,
    maxFeePerGas: 4_000_000_000n,
    maxPriorityFeePerGas: 1_000_000_000n,
    paymaster,
    paymasterVerificationGasLimit: 500_000n,
    paymasterPostOpGasLimit: 0n,
    paymasterData,
    signature: slice(NO_SIGNATURE, 0, 1),
    eip7702Auth: null,
  }
}
