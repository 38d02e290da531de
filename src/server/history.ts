/** The past of namespaces: roots, differences, pasts of keys, pins. See rfc/10, rfc/12. */

import { diff, log, makePin, pins, roots, unpin } from '../wire/history.js'
import type { ServerContext } from './context.js'
import type { Routes } from './routes.js'

/** Requests for pages of the history that are worked on at once, of all clients: each holds roots by the hundred. The
 *  others wait in order, and go when their clients go. */
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
