/** The requests of upkeep: usage, collection, and forgetting a key. See rfc/12, rfc/14.
 *  Invariant: a collection that a request asked for ends with that request. */

import { primary } from '../api/namespace.js'
import type { CollectProgress } from '../api/upkeep.js'
import { Wakeup } from '../base/wakeup.js'
import { toTailraceError } from '../error.js'
import { parse } from '../wire/schema.js'
import { errorBodyOf } from '../wire/status.js'
import { collect, forget, usage } from '../wire/upkeep.js'
import { readJsonBody } from './body.js'
import type { ServerContext } from './context.js'
import type { Routes } from './routes.js'
import { checkWritable } from './scope.js'
import { sendStream, signalOf } from './stream.js'

const ndjson = 'application/x-ndjson'

export function serveUpkeep(routes: Routes): void {
  routes.serve(usage, (_args, { context }) => context.store.upkeep.usage())
  routes.serveHttp(collect, async (_args, { request, reply, context }) => {
    const { upkeep } = context.store
    const body = await readJsonBody(request)
    const options = parse(collect.body, body, '')
    const signal = signalOf(context.activity, reply)
    if (request.headers.accept !== ndjson) return upkeep.collect({ ...options, signal })
    await sendStream(reply, {
      headers: async () => ({ 'content-type': ndjson }),
      pieces: progressOf(context, { ...options, signal }),
      signal,
      log: context.log,
      pace: context.pace,
    })
    return reply
  })
  routes.serve(forget, ({ key, namespace = primary }, { context }) =>
    context.store.upkeep.forget(key, { namespace: checkWritable(namespace) }),
  )
}

/** Gives the progress of a collection as lines, one each time that the client takes one, and then
 *  its result. Throws an error that comes before the first progress; a later one is the last
 *  line. */
async function* progressOf(
  context: ServerContext,
  options: { readonly dryRun?: boolean; readonly signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  const moved = new Wakeup()
  let progress: CollectProgress | undefined
  let ended: (() => unknown) | undefined
  const onProgress = (now: CollectProgress) => {
    progress = now
    moved.wake()
  }
  const collecting = context.store.upkeep.collect({ ...options, onProgress }).then(
    (collected) => () => ({ collected }),
    (error: unknown) => () => {
      if (progress === undefined) throw error
      return { error: errorBodyOf(toTailraceError(error)) }
    },
  )
  void collecting.then((end) => {
    ended = end
    moved.wake()
  })
  for (let seen = moved.count; !ended; seen = moved.count) {
    if (progress) yield line({ progress })
    if (!ended) await moved.wait(seen)
  }
  yield line(ended())
}

function line(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value)}\n`)
}
