/** Exports and imports over a server. See rfc/12, rfc/15.
 *  Invariant: a stream that was cut never looks whole; an import is sent once. */

import type { ExportOptions, Imported, ImportOptions } from '../api/upkeep.js'
import { isCode, TailraceError } from '../error.js'
import { parseImported } from '../wire/imported.js'
import type { Http } from './http.js'
import { pathOf } from './path.js'
import { namespaceOf } from './scope.js'

export class RemoteTransfers {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  /** Asked for when it is iterated; not again once its first byte came: the consumer has had a part of it. */
  async *exportTree(options: ExportOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
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

  importTree(chunks: AsyncIterable<Uint8Array>, options: ImportOptions = {}): Promise<Imported> {
    const { replace, signal } = options
    const path = pathOf('import', { ...namespaceOf(options), replace })
    const headers = { 'content-type': 'application/octet-stream' }
    return this.#http.write(
      { method: 'POST', path, headers, body: chunks, signal, long: true, patience: 'answer' },
      parseImported,
    )
  }
}
