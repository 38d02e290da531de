/** The tables of namespaces and roots: heads in memory, the history on disk, trimmed by later
 *  commits. See rfc/4, rules 18 and 19.
 *  Invariant: a head moves only when its root is durable. The history of a namespace is all roots
 *  from its oldest to its head, with ordinals without a gap. */

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

/** The largest number of roots that one commit drops of each namespace that it moves, and of
 *  removed namespaces. */
export const trimBatch = 64
/** The bytes of roots after which a page of the history ends. */
const pageSizeMax = 1024 * 1024

/** The number and the age, in ms, of the roots that are kept at least. */
export type HistoryBounds = { readonly count: number; readonly ageMs: number }
/** The bounds that rfc/4, rule 8 promises. */
export const historyBounds: HistoryBounds = { count: historyCount, ageMs: historyAgeMs }

/** A namespace. Only this file writes its fields. */
type Life = {
  stored: StoredNamespace
  head: StoredRoot
  oldest: StoredRoot
}

/** A seq after all that a key can hold. */
const seqEnd = Number.MAX_SAFE_INTEGER

/** The namespaces and roots of the durable engine. */
export class RootTable {
  readonly #roots: Table
  readonly #namespaces: Table
  readonly #bounds: HistoryBounds
  readonly #lives = new Map<string, Life>()
  /** The ids of removed namespaces that may still have roots. */
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

  /** Returns the head of a namespace, undefined where there is none. */
  head(name: string): Head | undefined {
    const life = this.#lives.get(name)
    return life && headOf(life)
  }

  /** Returns the heads of all namespaces. */
  heads(): Head[] {
    return [...this.#lives.values()].map(headOf)
  }

  /** The number of removed namespaces that may still have roots. */
  get burials(): number {
    return this.#dead.size
  }

  /** Returns the last epoch of a namespace's committers, 0 where there was none. */
  epoch(name: string): number {
    return this.#lives.get(name)?.stored.epoch ?? 0
  }

  /** Returns the retained root that followed a revision, undefined where there is none. */
  after(name: string, revision: Revision): Root | undefined {
    return this.page(name, revision, 1)[0]
  }

  /** Returns up to `limit` retained roots with a seq above `seq`, oldest first. It ends after the
   *  root with which they have more than `pageSizeMax` bytes. */
  page(name: string, seq: number, limit: number): Root[] {
    const life = this.#lives.get(name)
    if (!life || seq >= life.head.root.seq) return []
    const id = life.stored.id
    const start = rootKey(id, Math.max(0, Math.floor(seq) + 1))
    const range = { start, end: rootKey(id, seqEnd), limit }
    return this.#read(range, pageSizeMax).map(({ root }) => root)
  }

  /** Returns the seq of the oldest retained root. */
  oldest(name: string): number | undefined {
    return this.#lives.get(name)?.oldest.root.seq
  }

  // Each stage adds a change to a transaction, and returns a function to call once the transaction
  // is durable. A transaction stages at most one change of a namespace.

  /** Stages a new head, and a trim of the history. */
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

  /** Stages other refs for retained roots. Throws EINVAL where a seq has no root. */
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

  /** Stages a new namespace with its first root. */
  stageCreate(writes: Writes, namespace: Namespace, root: Root): () => void {
    const stored = { id: ++this.#lastId, epoch: 0, namespace }
    const head = { ordinal: 0, root }
    writes.put(this.#namespaces, namespaceKey(namespace.name), encodeNamespace(stored))
    writes.put(this.#roots, rootKey(stored.id, root.seq), encodeRoot(head))
    return () => this.#lives.set(namespace.name, { stored, head, oldest: head })
  }

  /** Stages the removal of a namespace: a mark takes the place of its record, and `stageBurial`
   *  drops its roots later. */
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

  /** Stages a new epoch of a namespace. */
  stageEpoch(writes: Writes, name: string, epoch: number): () => void {
    const life = this.#lives.get(name)
    if (!life) throw new Error('an epoch is staged for a namespace that was looked up before')
    const stored = { ...life.stored, epoch }
    writes.put(this.#namespaces, namespaceKey(name), encodeNamespace(stored))
    return () => {
      life.stored = stored
    }
  }

  /** Stages the removal of up to `trimBatch` roots of one removed namespace, and of its mark after
   *  the last root. */
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

  /** Stages the removal of up to `trimBatch` of the oldest roots, if they are too many, too old
   *  and not retained. */
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
