/** The requests of the history: roots, differences, logs of keys, pins. See rfc/10, rfc/12. */

import { diff, log, makePin, pins, roots, unpin } from '../wire/history.js'
import type { Routes } from './routes.js'

/** The largest number of requests for pages of the history that run at the same time, of all
 *  clients together. Each holds hundreds of roots. The others wait in order. A waiting request ends
 *  with its client. */
export const walksMax = 8

export function serveHistory(routes: Routes): void {
  routes.serve(roots, (args, { signal, context: { store, walks } }) =>
    walks.run(() => store.history.roots({ ...args, signal }), signal),
  )
  routes.serve(diff, (args, { signal, context: { store, walks } }) =>
    walks.run(() => store.history.diff({ ...args, signal }), signal),
  )
  routes.serve(log, ({ key, ...args }, { signal, context: { store, walks } }) =>
    walks.run(() => store.history.log(key, { ...args, signal }), signal),
  )
  routes.serve(pins, async (_args, { context }) => ({ pins: await context.store.history.pins() }))
  routes.serve(makePin, ({ name, ...args }, { context }) => context.store.history.pin(name, args))
  routes.serve(unpin, async ({ name }, { context }) => {
    await context.store.history.unpin(name)
    return {}
  })
}
