/** `/v1/gc` and `/v1/forget`: what is not in use goes, and what shall be in use no more. See rfc/12, rfc/14.
 *  Invariant: a collection that somebody asked for ends with its request. */

import type { CollectProgress } from '../api/upkeep.js'
import { Wakeup } from '../base/wakeup.js'
import { toTailraceError } from '../error.js'
import { parseCollectBody, parseForgetBody } from '../wire/collection.js'
import { errorBodyOf } from '../wire/status.js'
import type { App, Reply, Request } from './app.js'
import { readJsonBody } from './body.js'
import type { Context } from './context.js'
import { checkNoQuery, queryOf, writableNamespaceOf } from './query.js'
import { admitted, checkOwner } from './rights.js'
import { sendStream, signalOf } from './stream.js'

const ndjson = 'application/x-ndjson'

export function serveCollection(app: App, context: Context): void {
  app.post('/v1/gc', (request, reply) => collect(context, request, reply))
  app.post('/v1/forget', (request) => forget(context, request))
}

async function collect(context: Context, request: Request, reply: Reply): Promise<unknown> {
  checkNoQuery(request)
  checkOwner(admitted, 'collect')
  const options = parseCollectBody(await readJsonBody(request))
  const signal = signalOf(context.activity, reply)
  if (request.headers.accept !== ndjson) return context.store.upkeep.collect({ ...options, signal })
  await sendStream(reply, {
    headers: async () => ({ 'content-type': ndjson }),
    pieces: progressOf(context, { ...options, signal }),
    signal,
    log: context.log,
    pace: context.pace,
  })
  return reply
}

/** How far it is, as often as it is taken, then what came of it. What is refused at once is thrown. */
async function* progressOf(
  context: Context,
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

async function forget(context: Context, request: Request): Promise<unknown> {
  queryOf(request, {})
  checkOwner(admitted, 'forget')
  const key = parseForgetBody(await readJsonBody(request))
  return context.store.upkeep.forget(key, { namespace: writableNamespaceOf(request) })
}
