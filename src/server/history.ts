/** The requests of the history: roots, differences, logs of keys, pins. See rfc/10, rfc/12. */

import { diff, log, makePin, pins, roots, unpin } from '../wire/history.js'
import type { ServerContext } from './context.js'
import type { Routes } from './routes.js'

/** The largest number of requests for pages of the history that run at the same time, of all
 *  clients together. Each holds hundreds of roots. The others wait in order. A waiting request ends
 *  with its client. */
export const walksMax = 8

export function serveHistory(routes: Routes, { store: { history }, walks }: ServerContext): void {
  routes.serve(roots, (args, { signal }) =>
    walks.run(() => history.roots({ ...args, signal }), signal),
  )
  routes.serve(diff, (args, { signal }) =>
    walks.run(() => history.diff({ ...args, signal }), signal),
  )
  routes.serve(log, ({ key, ...args }, { signal }) =>
    walks.run(() => history.log(key, { ...args, signal }), signal),
  )
  routes.serve(pins, async () => ({ pins: await history.pins() }))
  routes.serve(makePin, ({ name, ...args }) => history.pin(name, args))
  routes.serve(unpin, async ({ name }) => {
    await history.unpin(name)
    return {}
  })
}
