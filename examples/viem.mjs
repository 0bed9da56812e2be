// A dApp that sends an operation without gas: the user's points pay. Needs viem, and nothing of Stipend's but a URL.
//
//   RPC_URL        the chain
//   PAYMASTER_URL  Stipend's ERC-7677 URL, with a key in it; it passes the bundler's methods on as well
//   OWNER_KEY      the key of the user's account (a dApp has a wallet here)
//   TARGET         a contract with `increment()`
import { createPublicClient, encodeFunctionData, extractChain, http, parseAbi } from 'viem'
import { createBundlerClient, toSimple7702SmartAccount } from 'viem/account-abstraction'
import { privateKeyToAccount } from 'viem/accounts'
import * as chains from 'viem/chains'

const { RPC_URL, PAYMASTER_URL, OWNER_KEY, TARGET } = process.env

const node = createPublicClient({ transport: http(RPC_URL) })
const chain = extractChain({ chains: Object.values(chains), id: await node.getChainId() })
const client = createPublicClient({ chain, transport: http(RPC_URL) })
const owner = privateKeyToAccount(OWNER_KEY)
const account = await toSimple7702SmartAccount({ client, owner })

const bundler = createBundlerClient({
  account,
  chain,
  client,
  transport: http(PAYMASTER_URL),
  paymaster: true,
  userOperation: {
    async estimateFeesPerGas({ bundlerClient }) {
      const { fast } = await bundlerClient.request({ method: 'pimlico_getUserOperationGasPrice' })
      return { maxFeePerGas: BigInt(fast.maxFeePerGas), maxPriorityFeePerGas: BigInt(fast.maxPriorityFeePerGas) }
    },
  },
})

// The first operation of an EIP-7702 account brings the owner's consent to the account's code.
const authorization = (await account.isDeployed())
  ? undefined
  : await owner.signAuthorization({
      address: account.authorization.address,
      chainId: chain.id,
      nonce: await client.getTransactionCount({ address: owner.address }),
    })

const userOpHash = await bundler.sendUserOperation({
  authorization,
  calls: [{ to: TARGET, data: encodeFunctionData({ abi: parseAbi(['function increment()']) }) }],
})
const { success, receipt } = await bundler.waitForUserOperationReceipt({ hash: userOpHash })

console.log(JSON.stringify({ account: account.address, userOpHash, success, transaction: receipt.transactionHash }))
