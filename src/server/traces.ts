/** The places in traces of writes that watchers may be told of. See rfc/29, rule 16.
 *  Invariant: at most `keysMax` keys, and `writesMax` writes of each, the newest ones. While no write has a
 *  place, nothing is looked up. */

import type { AppendEvent, ValueEvent } from '../api/watch.js'
import type { TracedTransaction } from '../past/namespace.js'
import { parseKey } from '../treeobj/key.js'

/** The largest number of keys whose writes are known. */
const keysMax = 1_024
/** The largest number of writes of a key that are known. */
const writesMax = 16

/** A write of one key. */
type TracedWrite = {
  readonly trace: string
  readonly seq: number
  /** The blobs of an append: those from `from`, below `to`. */
  readonly from: number
  readonly to: number
}

/** The places of the newest writes. Mutable; shared by the watches of a server. */
export class Traces {
  readonly #writes = new Map<string, TracedWrite[]>()

  note({ trace, namespace, seq, writes }: TracedTransaction): void {
    for (const { key, index, count } of writes) {
      const id = idOf(namespace, key)
      const known = this.#writes.get(id) ?? []
      const to = count ?? 0
      const write = { trace, seq, from: index ?? to, to }
      // A key that is written again is the newest one.
      this.#writes.delete(id)
      this.#writes.set(id, [...known, write].slice(-writesMax))
    }
    for (const oldest of this.#writes.keys()) {
      if (this.#writes.size <= keysMax) return
      this.#writes.delete(oldest)
    }
  }

  /** Returns the place of the write that an event tells of, if it is known. */
  of(namespace: string, key: string, event: AppendEvent | ValueEvent): string | undefined {
    if (this.#writes.size === 0) return undefined
    const known = this.#writes.get(idOf(namespace, key))
    return known?.find((write) => {
      if (event.type === 'value') return write.seq === event.seq
      return write.from <= event.index && event.index < write.to
    })?.trace
  }
}

function idOf(namespace: string, key: string): string {
  return `${namespace}\0${parseKey(key)}`
}
