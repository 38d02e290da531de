/** The past of namespaces: roots, differences, pasts of keys, pins. See rfc/10, rfc/12. */

import { diff, log, makePin, pins, roots, unpin } from '../wire/history.js'
import type { Context } from './context.js'
import type { Routes } from './routes.js'

export function serveHistory(routes: Routes, { store: { history } }: Context): void {
  routes.serve(roots, (args) => history.roots(args))
  routes.serve(diff, (args) => history.diff(args))
  routes.serve(log, ({ key, ...args }) => history.log(key, args))
  routes.serve(pins, async () => ({ pins: await history.pins() }))
  routes.serve(makePin, ({ name, ...args }) => history.pin(name, args))
  routes.serve(unpin, async ({ name }) => {
    await history.unpin(name)
    return {}
  })
}
