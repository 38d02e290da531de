/** Namespaces and their roots: heads in memory, history on disk, trimmed with later commits. See
 *  rfc/4.
 *  Invariant: a head moves only when its root is durable; the history of a namespace is the run of
 *  roots from its oldest to its head, ordinals dense. */

import { corrupt, isCount } from '../base/stored.js'
import { TailraceError } from '../error.js'
import {
  type Head,
  historyAgeMs,
  historyCount,
  type Namespace,
  type Part,
  type Revision,
  type Rewritten,
  type Root,
} from './engine.js'
import {
  deadKey,
  encodeNamespace,
  encodeRoot,
  namespaceKey,
  parseDeadKey,
  parseNamespace,
  parseRoot,
  rootKey,
  type StoredNamespace,
  type StoredRoot,
} from './record.js'
import type { Range, Table, Writes } from './tables.js'

/** Roots that one commit drops at most, of each namespace that it moves and of removed ones. */
export const trimBatch = 64
/** A page of the history ends after the root with which it has more bytes than this. */
const pageSizeMax = 1024 * 1024

export type HistoryBounds = { readonly count: number; readonly ageMs: number }
export const historyBounds: HistoryBounds = { count: historyCount, ageMs: historyAgeMs }

/** One namespace. Only this file writes its fields. */
type Life = {
  stored: StoredNamespace
  head: StoredRoot
  oldest: StoredRoot
}

/** After every seq that a key can hold. */
const seqEnd = Number.MAX_SAFE_INTEGER

export class RootTable {
  readonly #roots: Table
  readonly #namespaces: Table
  readonly #bounds: HistoryBounds
  readonly #lives = new Map<string, Life>()
  /** Ids of removed namespaces that may still have roots. */
  readonly #dead = new Set<number>()
  #lastId = 0

  constructor(roots: Table, namespaces: Table, bounds: HistoryBounds) {
    this.#roots = roots
    this.#namespaces = namespaces
    this.#bounds = bounds
  }

  /** Reads every namespace with its newest and oldest root. Throws ECORRUPT. */
  rebuild(): void {
    for (const key of [...this.#namespaces.keys({})]) {
      const dead = parseDeadKey(key)
      const id = dead ?? this.#rebuildLife(key)
      if (dead !== undefined) this.#dead.add(dead)
      this.#lastId = Math.max(this.#lastId, id)
    }
  }

  #rebuildLife(key: Buffer): number {
    const name = key.toString()
    const value = this.#namespaces.get(key)
    if (!value) throw corrupt('a stored namespace')
    const stored = parseNamespace(name, value)
    const [before, after] = [rootKey(stored.id - 1, seqEnd), rootKey(stored.id, seqEnd)]
    const [oldest] = this.#read({ start: before, end: after, limit: 1 })
    const [head] = this.#read({ start: after, end: before, reverse: true, limit: 1 })
    if (!oldest || !head) throw corrupt(`a stored root of namespace ${name}`)
    this.#lives.set(name, { stored, oldest, head })
    return stored.id
  }

  head(name: string): Head | undefined {
    const life = this.#lives.get(name)
    return life && headOf(life)
  }

  heads(): Head[] {
    return [...this.#lives.values()].map(headOf)
  }

  /** Removed namespaces that may still have roots. */
  get burials(): number {
    return this.#dead.size
  }

  epoch(name: string): number {
    return this.#lives.get(name)?.stored.epoch ?? 0
  }

  /** The retained root that followed a revision. */
  after(name: string, revision: Revision): Root | undefined {
    return this.page(name, revision, 1)[0]
  }

  /** Up to `limit` retained roots with a seq above `seq`, oldest first; none after the one with
   *  which they have more than `pageSizeMax` bytes. */
  page(name: string, seq: number, limit: number): Root[] {
    const life = this.#lives.get(name)
    if (!life || seq >= life.head.root.seq) return []
    const id = life.stored.id
    const start = rootKey(id, Math.max(0, Math.floor(seq) + 1))
    const range = { start, end: rootKey(id, seqEnd), limit }
    return this.#read(range, pageSizeMax).map(({ root }) => root)
  }

  /** The seq of the oldest retained root. */
  oldest(name: string): number | undefined {
    return this.#lives.get(name)?.oldest.root.seq
  }

  // Each stage adds to a transaction and gives what to call once that is durable. A transaction
  // stages at most one change of a namespace.

  stageRoot(writes: Writes, part: Part, now: number): () => void {
    const { root } = part
    const life = this.#lives.get(part.namespace)
    if (!life) throw new Error('a root is staged for a namespace that was looked up before')
    const head = { ordinal: life.head.ordinal + 1, root }
    writes.put(this.#roots, rootKey(life.stored.id, root.seq), encodeRoot(head))
    const trimmed = this.#stageTrim(writes, life, { now, retained: part.retained })
    return () => {
      life.head = head
      trimmed()
    }
  }

  /** Throws EINVAL where a seq has no root. */
  stageRewrite(writes: Writes, name: string, roots: readonly Rewritten[]): () => void {
    const life = this.#lives.get(name)
    if (!life) throw new Error('roots are rewritten of a namespace that was looked up before')
    const rewritten = roots.map(({ seq, ref }) => {
      const there = isCount(seq) && seq >= life.oldest.root.seq
      const key = rootKey(life.stored.id, there ? seq : seqEnd)
      const value = this.#roots.get(key)
      if (!value) throw new TailraceError('EINVAL', `there is no root ${seq} of ${name}`)
      const { ordinal, root } = parseRoot(value)
      return { key, stored: { ordinal, root: { ...root, ref } } }
    })
    for (const { key, stored } of rewritten) writes.put(this.#roots, key, encodeRoot(stored))
    return () => {
      for (const { stored } of rewritten) {
        if (stored.ordinal === life.oldest.ordinal) life.oldest = stored
        if (stored.ordinal === life.head.ordinal) life.head = stored
      }
    }
  }

  stageCreate(writes: Writes, namespace: Namespace, root: Root): () => void {
    const stored = { id: ++this.#lastId, epoch: 0, namespace }
    const head = { ordinal: 0, root }
    writes.put(this.#namespaces, namespaceKey(namespace.name), encodeNamespace(stored))
    writes.put(this.#roots, rootKey(stored.id, root.seq), encodeRoot(head))
    return () => this.#lives.set(namespace.name, { stored, head, oldest: head })
  }

  stageRemove(writes: Writes, name: string): () => void {
    const life = this.#lives.get(name)
    if (!life) throw new Error('a namespace is removed that was looked up before')
    const { id } = life.stored
    writes.remove(this.#namespaces, namespaceKey(name))
    writes.put(this.#namespaces, deadKey(id), Buffer.of(1))
    return () => {
      this.#lives.delete(name)
      this.#dead.add(id)
    }
  }

  stageEpoch(writes: Writes, name: string, epoch: number): () => void {
    const life = this.#lives.get(name)
    if (!life) throw new Error('an epoch is staged for a namespace that was looked up before')
    const stored = { ...life.stored, epoch }
    writes.put(this.#namespaces, namespaceKey(name), encodeNamespace(stored))
    return () => {
      life.stored = stored
    }
  }

  /** Drops some roots of one removed namespace, and at last its mark. */
  stageBurial(writes: Writes): () => void {
    const [id] = this.#dead
    if (id === undefined) return () => {}
    const keys = [
      ...this.#roots.keys({ start: rootKey(id, 0), end: rootKey(id, seqEnd), limit: trimBatch }),
    ]
    for (const key of keys) writes.remove(this.#roots, key)
    if (keys.length === trimBatch) return () => {}
    writes.remove(this.#namespaces, deadKey(id))
    return () => this.#dead.delete(id)
  }

  /** Drops the oldest roots where they are too many, too old and not retained, a batch at a
   *  time. */
  #stageTrim(
    writes: Writes,
    life: Life,
    { now, retained }: { readonly now: number; readonly retained: number | undefined },
  ): () => void {
    const surplus = life.head.ordinal + 2 - life.oldest.ordinal - this.#bounds.count
    const horizon = now - this.#bounds.ageMs
    const isKept = ({ time, seq }: Root) => time >= horizon || (retained ?? seq + 1) <= seq
    if (surplus < trimBatch || isKept(life.oldest.root)) return () => {}
    const { id } = life.stored
    const range = { start: rootKey(id, 0), end: rootKey(id, seqEnd), limit: trimBatch + 1 }
    const roots = this.#read(range)
    const kept = roots.slice(0, trimBatch).findIndex(({ root }) => isKept(root))
    const oldest = roots[kept < 0 ? roots.length - 1 : kept]
    if (!oldest) throw corrupt('a stored history')
    for (const { ordinal, root } of roots) {
      if (ordinal < oldest.ordinal) writes.remove(this.#roots, rootKey(id, root.seq))
    }
    return () => {
      life.oldest = oldest
    }
  }

  #read(range: Range, sizeMax = Number.POSITIVE_INFINITY): StoredRoot[] {
    const roots: StoredRoot[] = []
    let size = 0
    for (const key of this.#roots.keys(range)) {
      const value = this.#roots.get(key)
      if (!value) throw corrupt('a stored root')
      roots.push(parseRoot(value))
      size += value.length
      if (size > sizeMax) break
    }
    return roots
  }
}

function headOf(life: Life): Head {
  const { root } = life.head
  return { namespace: life.stored.namespace, root, revision: root.seq }
}
