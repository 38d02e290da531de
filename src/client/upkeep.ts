/** The upkeep of a store, over a server: usage, collection, forget, export and import. See rfc/12,
 *  rfc/14, rfc/15.
 *  Invariant: a stream that was cut never looks whole; an import is sent once. */

import type { Scope } from '../api/transaction.js'
import type {
  Collected,
  CollectOptions,
  ExportOptions,
  Forgotten,
  Imported,
  ImportOptions,
  Upkeep,
  Usage,
} from '../api/upkeep.js'
import { isCode, TailraceError } from '../error.js'
import { failureIn, Tail } from '../export/failure.js'
import { parse } from '../wire/schema.js'
import { parseErrorBody } from '../wire/status.js'
import { collect, collectLine, exportTree, forget, importTree, usage } from '../wire/upkeep.js'
import { decodeJsonText, readAnswer } from './answer.js'
import { placed } from './call.js'
import type { Http } from './http.js'
import type { Road } from './road.js'
import type { HttpResponse } from './transport.js'

/** The largest line of progress, in characters. */
const lineSizeMax = 64 * 1024

export class RemoteUpkeep implements Upkeep {
  readonly #http: Http
  readonly #road: Road

  constructor(http: Http, road: Road) {
    this.#http = http
    this.#road = road
  }

  async usage({ signal }: { readonly signal?: AbortSignal } = {}): Promise<Usage> {
    return this.#road.call(usage, {}, signal)
  }

  /** Collects garbage. The server ends the collection if the signal aborts, or the connection
   *  ends. */
  async collect({ signal, onProgress, ...args }: CollectOptions = {}): Promise<Collected> {
    if (!onProgress) return this.#http.call(collect, args, { signal })
    const headers = { accept: 'application/x-ndjson' }
    const asking = { signal, long: true, patience: 'all', shape: 'lines', headers } as const
    const { path, body } = placed(collect, args)
    return this.#http.sendJson(path, body, asking, (response) => lastOf(response, onProgress))
  }

  async forget(key: string, { signal, ...args }: Scope = {}): Promise<Forgotten> {
    return this.#http.call(forget, { key, ...args }, { signal })
  }

  /** Sends the request when it is iterated. It is sent again only until the first byte comes: from
   *  then on the consumer has a part. */
  async *export(options: ExportOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal, ...args } = options
    const { path } = placed(exportTree, args)
    const asking = { signal, long: true, shape: 'bytes' as const }
    const { chunks, first } = await this.#http.read(path, asking, async ({ body }) => {
      const chunks = body[Symbol.asyncIterator]()
      return { chunks, first: await chunks.next() }
    })
    const tail = new Tail()
    try {
      for (let chunk = first; !chunk.done; chunk = await chunks.next()) {
        tail.push(chunk.value)
        yield chunk.value
      }
    } catch (cause) {
      if (!isCode(cause, 'EUNKNOWN')) throw cause
      const failure = failureIn(tail.bytes)
      if (failure) throw failure
      const message = 'the export was cut (the server says why in its log): export it again'
      throw new TailraceError('ECLOSED', message, { cause })
    } finally {
      await chunks.return?.()
    }
  }

  async import(
    chunks: AsyncIterable<Uint8Array>,
    { signal, ...args }: ImportOptions = {},
  ): Promise<Imported> {
    const headers = { 'content-type': 'application/octet-stream' }
    const sending = { headers, body: chunks, signal, long: true, patience: 'answer' as const }
    return this.#http.upload(importTree, args, sending)
  }
}

async function lastOf(
  response: HttpResponse,
  onProgress: NonNullable<CollectOptions['onProgress']>,
): Promise<Collected> {
  for await (const line of linesOf(response.body)) {
    const said = readAnswer(() => parse(collectLine, decodeJsonText(line), 'a line'))
    if ('error' in said) throw parseErrorBody(said.error)
    if ('collected' in said) return said.collected
    onProgress(said.progress)
  }
  throw new TailraceError('EUNKNOWN', 'the answer was cut: collect again')
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > lineSizeMax) throw new TailraceError('EIO', 'a line of progress has no end')
    yield* lines
  }
}
