/** The requests that export and import the tree of a namespace as a stream. See rfc/12, rfc/15.
 *  Invariant: a stream goes at the client's pace and is never whole in memory. An export that fails
 *  in the middle ends its connection. An import whose client goes imports nothing. */

import { exportTree, importTree } from '../wire/upkeep.js'
import { streamHeldBody } from './body.js'
import type { Routes } from './routes.js'
import { sendStream, signalOf } from './stream.js'

export function serveTransfers(routes: Routes): void {
  routes.serveHttp(exportTree, async (args, { reply, context }) => {
    const { store, activity, log, pace } = context
    const signal = signalOf(activity, reply)
    await sendStream(reply, {
      headers: async () => ({ 'content-type': 'application/octet-stream' }),
      pieces: store.upkeep.export({ ...args, signal }),
      signal,
      log,
      pace,
    })
    return reply
  })
  routes.serveHttp(importTree, async (args, { request, reply, context }) => {
    const signal = signalOf(context.activity, reply)
    return context.store.upkeep.import(streamHeldBody(request), { ...args, signal })
  })
}
