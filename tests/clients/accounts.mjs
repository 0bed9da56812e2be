// The smart accounts of the client libraries, by the name that a request gives them.
import { to7702SimpleSmartAccount, toSafeSmartAccount, toSimpleSmartAccount } from 'permissionless/accounts'
import { entryPoint07Address, entryPoint08Address, toSimple7702SmartAccount } from 'viem/account-abstraction'

const ENTRY_POINTS = {
  '0.7': { address: entryPoint07Address, version: '0.7' },
  '0.8': { address: entryPoint08Address, version: '0.8' },
}

const makers = {
  // SimpleAccount comes from permissionless with either client; viem has none of its own.
  simple(request, client, owner) {
    const entryPoint = entryPointOf(request)
    return toSimpleSmartAccount({ client, owner, entryPoint, index: BigInt(request.salt ?? 0) })
  },

  safe(request, client, owner) {
    const entryPoint = entryPointOf(request)
    return toSafeSmartAccount({ client, owners: [owner], version: '1.4.1', entryPoint, saltNonce: BigInt(request.salt ?? 0) })
  },

  simple7702(request, client, owner) {
    const permissionless = request.client === 'permissionless' && request.entryPoint === '0.8'
    if (permissionless) return to7702SimpleSmartAccount({ client, owner })
    return toSimple7702SmartAccount({ client, owner, entryPoint: request.entryPoint })
  },
}

function entryPointOf(request) {
  const entryPoint = ENTRY_POINTS[request.entryPoint]
  if (!entryPoint) throw new Error(`${request.account} accounts are not made for EntryPoint ${request.entryPoint}`)
  return entryPoint
}

/** The account that a request names. */
export async function makeAccount(request, client, owner) {
  const make = makers[request.account]
  if (!make) throw new Error(`no account ${request.account}`)
  return make(request, client, owner)
}
