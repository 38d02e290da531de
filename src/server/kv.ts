/** `/v1/kv/KEY`: the bytes of a key. See rfc/12.
 *  Invariant: a value of any size goes in and out without ever being whole in memory. */

import { blobSizeMax } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import type { Stat } from '../kvs/kvs.js'
import { transactionSizeMax } from '../kvs/operation.js'
import { parseContentType } from '../wire/op.js'
import { invalid } from '../wire/parse.js'
import type { App, Reply, Request } from './app.js'
import { contentLengthOf, readBody, streamBody } from './body.js'
import type { Context } from './context.js'
import { follow } from './follow.js'
import { guardsOf, keyOf, namespaceOf, queryOf, writableNamespaceOf } from './query.js'
import { sendStream, signalOf } from './stream.js'

/** What curl and browsers send when nobody said what the bytes are. */
const meaninglessTypes = new Set(['application/octet-stream', 'application/x-www-form-urlencoded'])

export function serveKeys(app: App, context: Context): void {
  app.get('/v1/kv/*', (request, reply) => get(context, request, reply))
  app.head('/v1/kv/*', (request, reply) => head(context, request, reply))
  app.put('/v1/kv/*', (request, reply) => put(context, request, reply))
  app.post('/v1/kv/*', (request, reply) => append(context, request, reply))
  app.delete('/v1/kv/*', (request) => unlink(context, request))
}

async function get(context: Context, request: Request, reply: Reply): Promise<unknown> {
  const query = queryOf(request, {
    at: 'integer',
    minSeq: 'integer',
    index: 'integer',
    from: 'integer',
    waitCreate: 'flag',
    follow: 'flag',
  })
  const { at, minSeq, index, from, waitCreate } = query
  const namespace = namespaceOf(request)
  const key = keyOf(request)
  if (index !== undefined && from !== undefined) throw invalid('give ?index or ?from, not both')
  if (query.follow) {
    if (at !== undefined) throw invalid('?at is one root: it cannot be followed')
    await follow(context, reply, { key, namespace, ...query })
    return reply
  }
  const waits = waitCreate || minSeq !== undefined
  const signal = waits ? signalOf(context.activity, reply) : undefined
  if (waitCreate) {
    if (at !== undefined) throw invalid('?at is one root: there is nothing to wait for')
    await created(context, { key, namespace, signal })
  }
  const scope = { namespace, ...some({ at, minSeq, index, from, signal }) }
  const reading = await context.store.read(key, scope)
  if (!reading) throw missing(key)
  const headers = headersOf(reading.stat)
  const left = Math.max(0, reading.stat.size - (from ?? 0))
  if (index === undefined && left > blobSizeMax) {
    await sendStream(reply, {
      headers: async () => ({ ...headers, 'content-length': String(left) }),
      pieces: reading.chunks,
      signal: signal ?? signalOf(context.activity, reply),
      log: context.log,
    })
    return reply
  }
  const bytes = await joined(reading.chunks)
  return reply.headers(headers).send(bytes)
}

async function head(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const { at, minSeq } = queryOf(request, { at: 'integer', minSeq: 'integer' })
  const key = keyOf(request)
  const signal = minSeq === undefined ? undefined : signalOf(context.activity, reply)
  const scope = { namespace: namespaceOf(request), ...some({ at, minSeq, signal }) }
  const stat = await context.store.stat(key, scope)
  if (!stat) throw missing(key)
  if (stat.type === 'dir') throw new TailraceError('EISDIR', `"${key}" is a directory: list it`)
  return reply.headers(headersOf(stat)).header('content-length', String(stat.size)).send()
}

async function put(context: Context, request: Request, reply: Reply): Promise<Reply> {
  queryOf(request, {})
  const namespace = writableNamespaceOf(request)
  const key = keyOf(request)
  const length = contentLengthOf(request)
  const options = { namespace, ...contentTypeOf(request), ...guardsOf(request, key) }
  const small = length !== undefined && length <= blobSizeMax
  const value = small ? await readBody(request, blobSizeMax) : streamBody(request)
  const committed = await context.store.put(key, value, options)
  if (committed.result.ref) reply.header('etag', `"${committed.result.ref}"`)
  return reply.send(committed)
}

async function append(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const { seal } = queryOf(request, { seal: 'flag' })
  const namespace = writableNamespaceOf(request)
  const key = keyOf(request)
  const options = { namespace, ...some({ seal }), ...guardsOf(request, key) }
  const value = await readBody(request, transactionSizeMax)
  return reply.send(await context.store.append(key, value, options))
}

async function unlink(context: Context, request: Request): Promise<unknown> {
  const { recursive } = queryOf(request, { recursive: 'flag' })
  const namespace = writableNamespaceOf(request)
  const key = keyOf(request)
  const guards = guardsOf(request, key)
  if (!(await context.store.stat(key, { namespace, nofollow: true }))) throw missing(key)
  const op = { op: 'unlink', key, ...some({ recursive }) } as const
  const { seq, ref, results } = await context.store.commit({ ops: [op], ...guards }, { namespace })
  return { seq, ref, result: results[0] ?? {} }
}

/** Resolves once there is something at the key. Throws as a watch. */
export async function created(
  context: Context,
  where: {
    readonly key: string
    readonly namespace: string
    readonly signal: AbortSignal | undefined
  },
): Promise<void> {
  const { key, namespace, signal } = where
  const options = { mode: 'value', namespace, waitCreate: true, ...some({ signal }) } as const
  for await (const _ of context.store.watch(key, options)) return
}

/** ETag and what else goes before a value. */
export function headersOf(stat: Stat): Record<string, string> {
  return {
    etag: `"${stat.ref}"`,
    'tailrace-seq': String(stat.seq),
    'tailrace-count': String(stat.count),
    'tailrace-stat': JSON.stringify(stat),
    'content-type': stat.attrs?.contentType ?? 'application/octet-stream',
    'x-content-type-options': 'nosniff',
  }
}

export function missing(key: string): TailraceError {
  return new TailraceError('ENOENT', `there is no "${key}"`)
}

function contentTypeOf(request: Request): { readonly contentType?: string } {
  const header = request.headers['content-type']
  if (header === undefined || header === '' || meaninglessTypes.has(header.toLowerCase())) return {}
  return { contentType: parseContentType(header, 'Content-Type') }
}

async function joined(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const chunk of chunks) pieces.push(chunk)
  const [first] = pieces
  return pieces.length === 1 && first ? bufferOf(first) : Buffer.concat(pieces)
}

/** A view, not a copy. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Without the fields that are undefined. */
export function some<T extends object>(fields: T): Given<T> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as Given<T>
}
