/** The requests on keys whose arguments and answers are JSON: stat, treeobj, list, root,
 *  transactions, and reads of several keys at one root. See rfc/12. */

import { defined } from '../base/shape.js'
import { getTreeobj, listKeys, root, statKey } from '../wire/keys.js'
import { read, txn } from '../wire/transaction.js'
import { missing } from './kv-read.js'
import type { Call, Routes } from './routes.js'

export function serveKeyCalls(routes: Routes): void {
  routes.serve(statKey, async ({ key, ...args }, call) => {
    const found = await call.context.store.stat(key, { ...args, ...waiting(call, args.minSeq) })
    if (!found) throw missing(key)
    return found
  })
  routes.serve(getTreeobj, async ({ key, ...args }, call) => {
    const found = await call.context.store.treeobj(key, { ...args, ...waiting(call, args.minSeq) })
    if (!found) throw missing(key)
    return found
  })
  routes.serve(listKeys, ({ key, ...args }, call) =>
    call.context.store.list(key, { ...args, signal: call.signal }),
  )
  routes.serve(root, (args, call) =>
    call.context.store.root({ ...args, ...waiting(call, args.waitSeq) }),
  )
  routes.serve(
    txn,
    ({ namespace, guards, ops, noMerge }, { context, idempotencyKey, idempotencySince }) => {
      const isPlain = guards === undefined && noMerge === undefined
      const transaction = isPlain ? { ops } : { ops, ...defined({ guards, noMerge }) }
      const once = { idempotencyKey, idempotencySince }
      return context.store.commit(transaction, defined({ namespace, ...once }))
    },
  )
  routes.serve(
    read,
    async ({ keys, ...scope }, call) => {
      const asked = { ...scope, ...waiting(call, scope.minSeq) }
      return valuesOf(await call.context.store.readMany(keys, asked))
    },
    ({ keys, at, minSeq, namespace }, { store }) => {
      if (at !== undefined || minSeq !== undefined) return undefined
      const found = store.readNow(keys, namespace)
      return found && valuesOf(found)
    },
  )
}

/** Returns the signal of a request that waits for a seq, so that the wait ends with its client. */
function waiting(call: Call, seq: number | undefined): { readonly signal?: AbortSignal } {
  return seq === undefined ? {} : defined({ signal: call.signal })
}

/** Makes the answer of a read: a key that is not there is null. */
function valuesOf({
  seq,
  values,
}: {
  readonly seq: number
  readonly values: readonly (Uint8Array | undefined)[]
}) {
  return { seq, values: values.map((value) => value ?? null) }
}
