/** The requests on keys whose arguments and answers are JSON: stat, treeobj, list, root,
 *  transactions, and reads of several keys at one root. See rfc/12. */

import { readSizeMax } from '../api/kvs.js'
import { defined } from '../base/shape.js'
import { getTreeobj, listKeys, root, statKey } from '../wire/keys.js'
import { read, txn } from '../wire/transaction.js'
import { missing } from './kv-read.js'
import type { Call, Routes } from './routes.js'

/** The number of reads of more than `fewKeys` keys that are worked on at once: an answer has up to
 *  `readSizeMax`. */
export const longReadsMax = 1
const fewKeys = 4

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
  routes.serve(txn, ({ namespace, guards, ops, noMerge }, call) => {
    const isPlain = guards === undefined && noMerge === undefined
    const transaction = isPlain ? { ops } : { ops, ...defined({ guards, noMerge }) }
    const { context, idempotencyKey, idempotencySince, trace } = call
    const once = { idempotencyKey, idempotencySince }
    return context.store.commit(transaction, defined({ namespace, ...once, trace }))
  })
  routes.serve(
    read,
    async ({ keys, ...scope }, call) => {
      const asked = { ...scope, ...waiting(call, scope.minSeq) }
      const { store, longReads } = call.context
      const work = async () => valuesOf(await store.readMany(keys, asked))
      return keys.length <= fewKeys ? work() : longReads.run(() => readLong(call, work))
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

/** Makes a long answer once there is memory for it. It counts from when it is made, and not only from
 *  when it was encoded and handed over. */
async function readLong(call: Call, work: () => Promise<Values>): Promise<Values> {
  await call.backlog?.room(readSizeMax)
  const made = await work()
  const answer = call.context.backlogs.begin(() => {})
  call.afterwards(() => answer.end())
  answer.set(made.values.reduce((sum, value) => sum + (value?.length ?? 0), 0))
  return made
}

type Values = ReturnType<typeof valuesOf>

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
