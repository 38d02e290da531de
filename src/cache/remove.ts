/** Removes a result. See rfc/22, rule 13. */

import type { Kvs } from '../api/kvs.js'
import type { Token } from '../api/transaction.js'
import { isCode, unless } from '../error.js'
import { sameToken } from './hit.js'
import { logOps, namespaceOf, removalOp } from './layer.js'
import type { ResultLooks } from './looks.js'
import { recordKey, unlinkOps } from './record.js'

type RemovePorts = {
  readonly kvs: Kvs
  readonly looks: ResultLooks
  readonly layers: readonly [string, ...string[]]
}

/** Removes the result that the first layer has of an action; with `only`, if it has that token, or
 *  if its record is damaged. Returns true if it removed one. */
export async function remove(
  { kvs, looks, layers }: RemovePorts,
  { id }: { readonly id: string },
  { only, signal }: { readonly only?: Token | 'damaged'; readonly signal?: AbortSignal },
): Promise<boolean> {
  const [layer] = layers
  const scope = { namespace: namespaceOf(layer), ...(signal && { signal }) }
  const key = recordKey(id)
  for (;;) {
    const stat = await kvs.stat(key, scope).catch(unless('ENONS'))
    if (!stat) return false
    if (only) {
      const { hit, isDamaged } = await looks.find([layer], id, signal ? { signal } : {})
      const isMeant = only === 'damaged' ? isDamaged : hit && sameToken(hit.result.token, only)
      if (!isMeant) return false
    }
    const ops = [...unlinkOps(id), removalOp(), ...logOps('remove', { action: id })]
    try {
      await kvs.commit({ guards: [{ key, ref: stat.ref }], ops }, scope)
      return true
    } catch (error) {
      // Somebody replaced or removed it: look again.
      if (!isCode(error, 'ECONFLICT')) throw error
    }
  }
}
