/** Several keys at once: transactions, and reads at one root. See rfc/12. */

import { read, txn } from '../wire/transaction.js'
import type { ServerContext } from './context.js'
import { some } from './kv-read.js'
import type { Routes } from './routes.js'

export function serveTransactions(routes: Routes, { store }: ServerContext): void {
  routes.serve(txn, ({ namespace, ...transaction }, { idempotencyKey }) =>
    store.commit(transaction, some({ namespace, idempotencyKey })),
  )
  routes.serve(read, async ({ keys, ...scope }, call) => {
    const signal = scope.minSeq === undefined ? undefined : call.signal
    const { seq, values } = await store.readMany(keys, { ...scope, ...some({ signal }) })
    return { seq, values: values.map((value) => value ?? null) }
  })
}
