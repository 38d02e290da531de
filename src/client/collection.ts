/** Collections and forgotten keys behind a server. See rfc/12, rfc/14. */

import type { Scope } from '../api/transaction.js'
import type { Collected, CollectOptions, Forgotten, Upkeep } from '../api/upkeep.js'
import { TailraceError } from '../error.js'
import { readAnswer } from '../wire/answers.js'
import { parseCollected, parseCollectLine, parseForgotten } from '../wire/collection.js'
import { decodeJsonText } from './answer.js'
import type { Http } from './http.js'
import { pathOf } from './path.js'
import { namespaceOf } from './scope.js'
import type { HttpResponse } from './transport.js'

/** Bytes of one line of progress. */
const lineSizeMax = 64 * 1024

export class RemoteCollection implements Pick<Upkeep, 'collect' | 'forget'> {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
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
