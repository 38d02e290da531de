/** One append watcher: a position in a history, and nothing else. See rfc/7, rules 1, 5, 6, 10 and
 *  17.
 *  Invariant: each blob from the start on is delivered once and in order. Then comes the end of the
 *  history, its error, or ECOMPACTED if a trim overtook the watcher. No byte of another history is
 *  delivered, no blob is left out, and no blob is loaded before it is asked for. */

import type { From, Position, WatchEvent } from '../api/watch.js'
import type { Blobref } from '../blob/blobref.js'
import { type Content, cacheSizeDefault } from '../content/content.js'
import { isCode, TailraceError } from '../error.js'
import { type AppendArray, arrayRef, pushBlob } from '../tree/array.js'
import { entriesOf, indexAtOffset, truncateArray } from '../tree/array-read.js'
import { hashOnly, type Nodes } from '../tree/nodes.js'
import type { AppendKey } from './append-key.js'
import type { KeyHistory } from './history.js'

type AppendWatchPorts = {
  readonly content: Content
  readonly nodes: Nodes
  readonly monotonic: () => number
}

/** Delivers the events of one append watch. Throws ENOENT, ENONS, EISDIR, EOVERWRITTEN, ECOMPACTED,
 *  ECLOSED, ECANCELED, and what a load throws. */
export async function* watchAppend(
  ports: AppendWatchPorts,
  appendKey: AppendKey,
  options: { readonly from: From | undefined; readonly waitCreate: boolean },
  signal: AbortSignal,
): AsyncGenerator<WatchEvent, void, undefined> {
  const { from, waitCreate } = options
  const resumes = isPosition(from)
  const waits = waitCreate && !resumes && (await isMissing(appendKey, signal))
  // `live` comes before the wait, since the program that creates the key may wait for it.
  if (waits) yield { type: 'live' }
  const history = await firstHistory(appendKey, { waitCreate: waits }, signal)
  using _read = history.read()
  const fromEnd = typeof from === 'number' && from < 0
  const start = await startOf(ports, history, waits && fromEnd ? undefined : from)
  const startCount = history.array.count
  const reader = new HistoryReader(ports, history)
  let index = start
  let live = waits
  for (;;) {
    const seen = history.moved.count
    const { array, seq } = history
    await reader.checkAboveBase(index)
    if (index < array.count) {
      for await (const event of reader.read(array, index, seq)) {
        yield event
        index = event.index + 1
        // The position comes from the newest array. The array of the start is not held: a watcher
        // that is far behind would hold it for long.
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

/** Reads the blobs of one history, with the position after each blob. */
class HistoryReader {
  readonly #ports: AppendWatchPorts
  readonly #history: KeyHistory
  /** The array of all blobs up to the last one that was read. It saves a look at the nodes when
   *  the position after the next blob is computed. */
  #walked: AppendArray | undefined

  constructor(ports: AppendWatchPorts, history: KeyHistory) {
    this.#ports = ports
    this.#history = history
  }

  async *read(array: AppendArray, from: number, seq: number) {
    const history = this.#history
    let next = from
    try {
      for await (const entry of entriesOf(this.#ports.nodes, array, from, array.count)) {
        history.checkKept(this.#ports.monotonic())
        await this.checkAboveBase(entry.index)
        const inline = entry.index === 0 ? history.inline : undefined
        const data = inline ?? (await this.#load(entry.ref, array.size - entry.offset))
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
        next = count
        yield { type: 'append', index, offset, seq, position, data, ...rest } as const
      }
    } catch (error) {
      // A trim during the load may have freed the blob. Then the error is ECOMPACTED.
      if (!isCode(error, 'EDANGLING')) throw error
      await this.checkAboveBase(next)
      throw isCode(history.error, 'ECOMPACTED') ? history.error : error
    }
  }

  /** Loads a blob. A watcher that is `behind` by more bytes than the cache holds does not fill the
   *  cache. */
  #load(ref: Blobref, behind: number): Promise<Uint8Array> {
    const { content } = this.#ports
    return behind > cacheSizeDefault ? content.pass(ref) : content.load(ref)
  }

  /** Throws ECOMPACTED if `index` is below the base: a trim dropped that blob. */
  async checkAboveBase(index: number): Promise<void> {
    const history = this.#history
    if (index >= history.base.count) return
    throw await history.compacted(this.#ports.nodes, `append ${index}`)
  }

  /** Returns the position after the first `count` blobs. Throws ECOMPACTED. */
  async position(count: number): Promise<Position> {
    const { array } = this.#history
    await this.checkAboveBase(count)
    const whole =
      count === array.count ? array : await truncateArray(this.#ports.nodes, array, count)
    return this.#position(count, whole)
  }

  #position(count: number, array: AppendArray): Position {
    const { incarnation } = this.#history
    return { incarnation, index: count, prefix: this.#history.prefix(count, () => array) }
  }
}

/** Resolves to true if the key is missing and may be created, to false if it is there or can only
 *  be an error. */
async function isMissing(appendKey: AppendKey, signal: AbortSignal): Promise<boolean> {
  for (;;) {
    const seen = appendKey.changed.count
    if (appendKey.history) return false
    if (appendKey.absence) return mayCome(appendKey.absence)
    await appendKey.changed.wait(seen, signal)
  }
}

function mayCome({ code }: TailraceError): boolean {
  return code === 'ENOENT' || code === 'ENONS'
}

/** Resolves with the history of the key, with `waitCreate` once there is one. Throws the reason why
 *  there is none. */
async function firstHistory(
  appendKey: AppendKey,
  options: { readonly waitCreate: boolean },
  signal: AbortSignal,
): Promise<KeyHistory> {
  for (;;) {
    const seen = appendKey.changed.count
    const { history, absence } = appendKey
    if (history) return history
    if (absence && !(options.waitCreate && mayCome(absence))) throw absence
    await appendKey.changed.wait(seen, signal)
  }
}

/** Returns the index of the first blob to deliver. Throws EOVERWRITTEN if a position belongs to
 *  another history, and ECOMPACTED if a byte or a position lies below the base. An index below the
 *  base is returned as it is. */
async function startOf(
  ports: AppendWatchPorts,
  history: KeyHistory,
  from: From | undefined,
): Promise<number> {
  const { array, base } = history
  if (from === undefined) return base.count
  if (typeof from === 'number') {
    return from < 0 ? Math.max(base.count, array.count + from) : from
  }
  if (!isPosition(from)) {
    const { offset } = from
    if (offset < base.size) throw await history.compacted(ports.nodes, `byte ${offset}`)
    if (offset === base.size) return base.count
    return offset >= array.size ? array.count : indexAtOffset(ports.nodes, array, offset)
  }
  const may = from.incarnation === history.incarnation && from.index <= array.count
  if (may && from.index < base.count) {
    throw await history.compacted(ports.nodes, `append ${from.index}`)
  }
  const same = may && arrayRef(await truncateArray(ports.nodes, array, from.index)) === from.prefix
  if (same) return from.index
  throw new TailraceError(
    'EOVERWRITTEN',
    'the log was overwritten while you were away: its first blobs are not those that you have',
  )
}

function isPosition(from: From | undefined): from is Position {
  return typeof from === 'object' && 'prefix' in from
}
