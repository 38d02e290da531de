/** One append watcher: a position in a history, and nothing else. See rfc/7.
 *  Invariant: each blob from the start on is delivered once, in order; then the end or the error of
 *  the history; never a byte of another one. Nothing is loaded before it is asked for. */

import type { Content } from '../content/content.js'
import { TailraceError } from '../error.js'
import type { From, Position, WatchEvent } from '../kvs/watching.js'
import { type AppendArray, arrayRef, pushBlob } from '../tree/array.js'
import { entriesOf, indexAtOffset, truncateArray } from '../tree/array-read.js'
import { hashOnly, type Nodes } from '../tree/nodes.js'
import type { AppendKey } from './append-key.js'
import type { History } from './history.js'

export type AppendWatchPorts = {
  readonly content: Content
  readonly nodes: Nodes
  readonly monotonic: () => number
}

export async function* watchAppend(
  ports: AppendWatchPorts,
  appendKey: AppendKey,
  options: { readonly from: From; readonly waitCreate: boolean },
  signal: AbortSignal,
): AsyncGenerator<WatchEvent, void, undefined> {
  const { from, waitCreate } = options
  const resumes = isPosition(from)
  const history = await firstHistory(appendKey, { waitCreate: waitCreate && !resumes }, signal)
  const start = await startOf(ports, history, from)
  const startCount = history.array.count
  const reader = new HistoryReader(ports, history)
  let index = start
  let live = false
  for (;;) {
    const seen = history.moved.count
    const { array, seq } = history
    if (index < array.count) {
      for await (const event of reader.read(array, index, seq)) {
        yield event
        index = event.index + 1
        // One that was far behind must not hold the array of long ago.
        if (!live && index >= startCount) {
          live = true
          yield { type: 'live', position: await reader.position(index) }
        }
      }
    }
    if (!live) {
      live = true
      yield { type: 'live', position: await reader.position(Math.min(index, array.count)) }
    }
    if (history.moved.count !== seen) continue
    if (history.sealed) {
      yield { type: 'end', reason: 'sealed', position: await reader.position(array.count) }
      return
    }
    if (history.error) throw history.error
    await history.moved.wait(seen, signal)
  }
}

/** The blobs of one history, with the position after each. */
class HistoryReader {
  readonly #ports: AppendWatchPorts
  readonly #history: History
  /** The array of the blobs before the next one; only there while the position must be computed. */
  #walked: AppendArray | undefined

  constructor(ports: AppendWatchPorts, history: History) {
    this.#ports = ports
    this.#history = history
  }

  async *read(array: AppendArray, from: number, seq: number) {
    const history = this.#history
    for await (const entry of entriesOf(this.#ports.nodes, array, from, array.count)) {
      history.checkKept(this.#ports.monotonic())
      const inline = entry.index === 0 ? history.inline : undefined
      const data = inline ?? (await this.#ports.content.load(entry.ref))
      const count = entry.index + 1
      if (count === array.count) this.#walked = array
      else {
        const walked = this.#walked?.count === entry.index ? this.#walked : undefined
        const before = walked ?? (await truncateArray(this.#ports.nodes, array, entry.index))
        this.#walked = pushBlob(hashOnly, before, entry)
      }
      const { index, offset, more } = entry
      const position = this.#position(count, this.#walked)
      const rest = more ? { more } : {}
      yield { type: 'append', index, offset, seq, position, data, ...rest } as const
    }
  }

  async position(count: number): Promise<Position> {
    const { array } = this.#history
    const whole =
      count === array.count ? array : await truncateArray(this.#ports.nodes, array, count)
    return this.#position(count, whole)
  }

  #position(count: number, array: AppendArray): Position {
    const { incarnation } = this.#history
    return { incarnation, index: count, prefix: this.#history.prefix(count, () => array) }
  }
}

async function firstHistory(
  appendKey: AppendKey,
  options: { readonly waitCreate: boolean },
  signal: AbortSignal,
): Promise<History> {
  for (;;) {
    const seen = appendKey.changed.count
    const { history, absence } = appendKey
    if (history) return history
    const mayCome = absence?.code === 'ENOENT' || absence?.code === 'ENONS'
    if (absence && !(options.waitCreate && mayCome)) throw absence
    await appendKey.changed.wait(seen, signal)
  }
}

async function startOf(ports: AppendWatchPorts, history: History, from: From): Promise<number> {
  const { array } = history
  if (typeof from === 'number') return from < 0 ? Math.max(0, array.count + from) : from
  if (!isPosition(from)) {
    return from.offset >= array.size ? array.count : indexAtOffset(ports.nodes, array, from.offset)
  }
  const same =
    from.incarnation === history.incarnation &&
    from.index <= array.count &&
    arrayRef(await truncateArray(ports.nodes, array, from.index)) === from.prefix
  if (same) return from.index
  throw new TailraceError(
    'EOVERWRITTEN',
    'the log was overwritten while you were away: its first blobs are not those that you have',
  )
}

function isPosition(from: From): from is Position {
  return typeof from === 'object' && 'prefix' in from
}
