/** The upkeep of a store behind a server: usage, collection, forgetting, export and import. See rfc/12, rfc/14,
 *  rfc/15.
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
import { parseUsage, readAnswer } from '../wire/answers.js'
import { parseCollected, parseCollectLine, parseForgotten } from '../wire/collection.js'
import { parseImported } from '../wire/imported.js'
import { decodeJsonText } from './answer.js'
import type { Http } from './http.js'
import { pathOf } from './path.js'
import { namespaceOf } from './scope.js'
import type { HttpResponse } from './transport.js'

/** Bytes of one line of progress. */
const lineSizeMax = 64 * 1024

export class RemoteUpkeep implements Upkeep {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async usage(options: { readonly signal?: AbortSignal } = {}): Promise<Usage> {
    return this.#http.readJson(pathOf('usage'), options, parseUsage)
  }

  /** Canceled by its signal, and by the end of the connection. */
  async collect(options: CollectOptions = {}): Promise<Collected> {
    const { dryRun, signal, onProgress } = options
    const asking = { signal, long: true, patience: 'answer' as const }
    if (!onProgress) return this.#http.writeJson(pathOf('gc'), { dryRun }, asking, parseCollected)
    const headers = { accept: 'application/x-ndjson' }
    const shape = 'lines' as const
    const body = { dryRun }
    return this.#http.sendJson(
      pathOf('gc'),
      body,
      { ...asking, headers, shape, patience: 'all' as const },
      (response) => lastOf(response, onProgress),
    )
  }

  forget(key: string, options: Scope = {}): Promise<Forgotten> {
    const path = pathOf('forget', namespaceOf(options))
    const { signal } = options
    return this.#http.writeJson(
      path,
      { key },
      { signal, long: true, patience: 'answer' },
      parseForgotten,
    )
  }

  /** Asked for when it is iterated; not again once its first byte came: the consumer has had a part of it. */
  async *export(options: ExportOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const { at, since, skipDamaged, signal } = options
    const path = pathOf('export', { ...namespaceOf(options), at, since, skipDamaged })
    const asking = { signal, long: true, shape: 'bytes' as const }
    const { chunks, first } = await this.#http.read(path, asking, async ({ body }) => {
      const chunks = body[Symbol.asyncIterator]()
      return { chunks, first: await chunks.next() }
    })
    // Its codec is a package's: only who exports loads it.
    const { failureIn, Tail } = await import('../export/failure.js')
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

  import(chunks: AsyncIterable<Uint8Array>, options: ImportOptions = {}): Promise<Imported> {
    const { replace, signal } = options
    const path = pathOf('import', { ...namespaceOf(options), replace })
    const headers = { 'content-type': 'application/octet-stream' }
    return this.#http.write(
      { method: 'POST', path, headers, body: chunks, signal, long: true, patience: 'answer' },
      parseImported,
    )
  }
}

async function lastOf(
  response: HttpResponse,
  onProgress: NonNullable<CollectOptions['onProgress']>,
): Promise<Collected> {
  for await (const line of linesOf(response.body)) {
    const said = readAnswer(decodeJsonText(line), parseCollectLine)
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
