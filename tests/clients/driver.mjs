// The real client libraries, driven by JSON lines: one request a line on stdin, one answer a line on stdout, in any order.
// The process ends with its stdin. What a request may hold is described by `Request` in crates/devstack/src/driver.rs.
import { createInterface } from 'node:readline'
import { createSmartAccountClient } from 'permissionless'
import { createPublicClient, http } from 'viem'
import { createBundlerClient, createPaymasterClient, formatUserOperation, formatUserOperationRequest } from 'viem/account-abstraction'
import { privateKeyToAccount } from 'viem/accounts'
import { signAuthorization } from 'viem/actions'
import { foundry } from 'viem/chains'
import { makeAccount } from './accounts.mjs'

// viem's own estimate doubles the tip of the blocks before, which are full of its own operations: on a local chain it grows
// without end. So fees are fixed unless the request names them.
const DEFAULT_FEES = { maxFeePerGas: 4_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }
const POLLING_MILLISECONDS = 100
const DEFAULT_WAIT_SECONDS = 60

const chains = new Map()

/** The chain behind a node's URL; only its id is asked, once. */
async function chainOf(rpcUrl) {
  if (!chains.has(rpcUrl)) {
    const id = await createPublicClient({ transport: http(rpcUrl) }).getChainId()
    chains.set(rpcUrl, { ...foundry, id, rpcUrls: { default: { http: [rpcUrl] } } })
  }
  return chains.get(rpcUrl)
}

const bigints = (fields) => Object.fromEntries(Object.entries(fields ?? {}).map(([name, value]) => [name, BigInt(value)]))

/** A transport over real HTTP that also notes what went out, in order. */
function noted(url, server, wire) {
  return http(url, {
    async onFetchRequest(request, init) {
      const body = JSON.parse(init?.body ?? (await request.clone().text()))
      for (const call of Array.isArray(body) ? body : [body]) wire.push({ server, method: call.method, params: call.params })
    },
  })
}

/** Everything that one request needs: node, account, and the client that a dApp would make. */
async function open(request) {
  const chain = await chainOf(request.rpcUrl)
  const node = createPublicClient({ chain, transport: http(request.rpcUrl), pollingInterval: POLLING_MILLISECONDS })
  const owner = privateKeyToAccount(request.ownerKey)
  const account = await makeAccount(request, node, owner)
  const wire = []
  const fees = { ...DEFAULT_FEES, ...bigints(request.fees) }
  const paymaster = paymasterOf(request, wire)
  const options = {
    account,
    chain,
    client: node,
    pollingInterval: POLLING_MILLISECONDS,
    userOperation: { estimateFeesPerGas: async () => fees },
    ...(paymaster === undefined ? {} : { paymaster }),
    ...(request.paymasterContext === undefined ? {} : { paymasterContext: request.paymasterContext }),
  }
  const transport = noted(request.bundlerUrl, 'bundler', wire)
  const client =
    request.client === 'permissionless'
      ? createSmartAccountClient({ ...options, bundlerTransport: transport })
      : createBundlerClient({ ...options, transport })
  return { node, owner, account, client, wire }
}

/** `paymasterUrl: true` is viem's way to say that the bundler's URL also serves the paymaster's methods. */
function paymasterOf(request, wire) {
  if (request.paymasterUrl === true) return true
  if (!request.paymasterUrl) return undefined
  return createPaymasterClient({ transport: noted(request.paymasterUrl, 'paymaster', wire) })
}

function parametersOf(request) {
  const calls = (request.calls ?? []).map(({ to, value, data }) => ({ to, value: BigInt(value ?? 0), data: data ?? '0x' }))
  const nonce = request.nonce == null ? {} : { nonce: BigInt(request.nonce) }
  return { calls, ...nonce, ...bigints(request.gas) }
}

/** The EIP-7702 authorization of an account that is not delegated yet, signed as a wallet signs it. */
async function authorizationOf({ node, owner, account }) {
  if (!account.authorization || (await account.isDeployed())) return {}
  const { address } = account.authorization
  return { authorization: await signAuthorization(node, { account: owner, address }) }
}

const actions = {
  async address(request) {
    const { account } = await open(request)
    return { address: account.address, deployed: await account.isDeployed() }
  },

  /** The operation that would be sent: estimated and sponsored, not signed by the user. */
  async prepare(request) {
    const { client, wire } = await open(request)
    const op = await client.prepareUserOperation(parametersOf(request))
    return { op: formatUserOperationRequest(op), wire: wire.map(short) }
  },

  /** The whole flow of a dApp. `op` is what went to the bundler. */
  async send(request) {
    const opened = await open(request)
    const { client, wire } = opened
    const parameters = { ...parametersOf(request), ...(await authorizationOf(opened)) }
    const userOpHash = await client.sendUserOperation(parameters)
    const sent = wire.findLast(({ method }) => method === 'eth_sendUserOperation')
    return { userOpHash, op: sent.params[0], wire: wire.map(short) }
  },

  /** Signs the operation in `op` for the account's owner, and its authorization if it has one. */
  async sign(request) {
    const opened = await open(request)
    const { eip7702Auth, ...fields } = request.op
    const op = formatUserOperation(fields)
    const { authorization } = eip7702Auth ? await authorizationOf(opened) : {}
    // The hash of an operation of EIP-7702 covers the delegate, which viem takes from here.
    const signature = await opened.account.signUserOperation({ ...op, ...(authorization ? { authorization } : {}) })
    const signed = { ...op, signature, ...(authorization ? { authorization } : {}) }
    return { op: formatUserOperationRequest(signed) }
  },

  /** Sends the signed operation in `op` as it is. */
  async submit(request) {
    const { client, account } = await open(request)
    const params = [request.op, account.entryPoint.address]
    return { userOpHash: await client.request({ method: 'eth_sendUserOperation', params }, { retryCount: 0 }) }
  },

  async wait(request) {
    const { client } = await open(request)
    const timeout = 1000 * (request.waitSeconds ?? DEFAULT_WAIT_SECONDS)
    const receipt = await client.waitForUserOperationReceipt({ hash: request.userOpHash, timeout })
    return {
      success: receipt.success,
      actualGasCost: receipt.actualGasCost.toString(),
      actualGasUsed: receipt.actualGasUsed.toString(),
      transactionHash: receipt.receipt.transactionHash,
      blockNumber: Number(receipt.receipt.blockNumber),
      blockHash: receipt.receipt.blockHash,
      reason: receipt.reason ?? null,
    }
  },
}

const short = ({ server, method }) => `${server} ${method}`

/** What a dApp can learn of an error: its class, its text, and what the libraries kept of the server's answer. */
function describe(error) {
  const find = (test) => (typeof error?.walk === 'function' ? error.walk(test) : null)
  const coded = find((cause) => typeof cause?.code === 'number')
  const told = find((cause) => cause?.data !== undefined)
  return {
    name: error?.name ?? 'Error',
    message: error?.message ?? String(error),
    shortMessage: error?.shortMessage ?? null,
    details: error?.details ?? null,
    code: coded?.code ?? null,
    data: told?.data ?? null,
    causes: causes(error),
  }
}

function causes(error) {
  const names = []
  for (let cause = error; cause && names.length < 10; cause = cause.cause) names.push(cause.name ?? 'Error')
  return names
}

async function answer(line) {
  let id = null
  try {
    const request = JSON.parse(line)
    id = request.id
    const action = actions[request.action]
    if (!action) throw new Error(`no action ${request.action}`)
    return { id, ok: await action(request) }
  } catch (error) {
    return { id, error: describe(error) }
  }
}

const toJson = (value) => JSON.stringify(value, (_, field) => (typeof field === 'bigint' ? `0x${field.toString(16)}` : field))

const lines = createInterface({ input: process.stdin })
lines.on('line', async (line) => process.stdout.write(`${toJson(await answer(line))}\n`))
lines.on('close', () => process.exit(0))
