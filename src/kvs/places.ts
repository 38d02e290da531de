/** Places in append keys, for readers of bytes. See rfc/7, rules 20 to 22.
 *  Invariant: after a check, the place and every byte before the offset asked for belong to the
 *  history that is there now. Where this cannot be told, the check throws. */

import { setImmediate } from 'node:timers/promises'
import type { ReadScope } from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import type { Position } from '../api/watch.js'
import type { Blobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import type { HeldRoot } from '../past/holds.js'
import type { LiveNamespace } from '../past/namespace.js'
import { type AppendArray, arrayOf, arrayOfInline, arrayRef, peekArray } from '../tree/array.js'
import { isPrefix, truncateArray } from '../tree/array-read.js'
import type { Nodes } from '../tree/nodes.js'
import { admitOf, type Rights } from '../tree/rights.js'
import { concerns } from '../tree/root.js'
import { type Key, parseKey } from '../treeobj/key.js'
import { type Base, baseOf, compacted } from '../treeobj/treeobj.js'
import type { CheckedPlace, LogPlace, LogPlaces } from './log-place.js'
import { peekKey } from './read.js'
import { holdSnapshot } from './snapshot.js'
import type { KeyStore } from './store.js'

/** The largest number of roots that a check looks at. Where more were made since the place, the
 *  check throws ECOMPACTED. */
export const placeRootsMax = 10_000
/** The number of roots that are looked at between two turns of the event loop. */
const placeStep = 256

/** The value of a key at the root `seq`. */
type State = {
  readonly array: AppendArray
  readonly base: Base
  /** True if the key itself has the value; false if a link leads to it. */
  readonly own: boolean
  readonly seq: number
}

/** The places of the embedded store. */
export class Places implements LogPlaces {
  readonly #store: KeyStore
  readonly #rights: Rights | undefined

  /** `rights` are those of the caller on keys that links lead to. Absent: all. */
  constructor(store: KeyStore, rights?: Rights) {
    this.#store = store
    this.#rights = rights
  }

  async end(key: string, scope: ReadScope = {}): Promise<LogPlace | undefined> {
    const live = this.#store.namespace(scope.namespace)
    const isNewest = scope.at === undefined || scope.at === live.root.seq
    const peeked = isNewest && this.#peek(live, key)
    if (peeked) return peeked
    const held = await this.#store.spaces.past.hold(live, scope.at)
    const state = await this.#stateAt(live, held, parseKey(key))
    return state && placeOf(live, state)
  }

  /** Returns the place behind the whole log at the newest root, without I/O. Undefined where nodes
   *  are not in memory, too. Every read of a value asks for it, so it must be fast. */
  #peek(live: LiveNamespace, key: string): LogPlace | undefined {
    const { nodes } = this.#store
    const treeobj = peekKey(nodes, live.root, key, { follow: true })?.treeobj
    if (treeobj?.type !== 'val' && treeobj?.type !== 'valref') return undefined
    const array = treeobj.type === 'val' ? arrayOfInline(treeobj) : peekArray(nodes, treeobj)
    return array && placeOf(live, { array, seq: live.root.seq })
  }

  async check(
    key: string,
    place: LogPlace,
    from: number,
    scope: Scope = {},
  ): Promise<CheckedPlace> {
    const live = this.#store.namespace(scope.namespace)
    const { nodes, spaces } = this.#store
    using held = spaces.past.holdRoot(live.root)
    // `held` keeps the root until the end of the check; #stateAt disposes of a hold of its own.
    const state = await this.#stateAt(live, spaces.past.holdRoot(held.root), parseKey(key))
    if (!state) throw new TailraceError('ENOENT', `"${key}" is not there any more`)
    const { position, offset } = place
    const { array, base } = state
    const isPossible =
      position.incarnation === live.record.incarnation && position.index <= array.count
    if (!isPossible || from > array.size) throw overwritten(key)
    if (from > offset) await this.#checkHistory(live, parseKey(key), place, state)
    else if (position.index < base.count) throw compacted(`append ${position.index}`, base)
    else if (!(await isPrefixAt(nodes, array, position))) throw overwritten(key)
    return {
      end: placeOf(live, state),
      includes: async (other) => other.index <= array.count && isPrefixAt(nodes, array, other),
    }
  }

  /** Checks that each state of the key, from the place's root on, begins with the state before it.
   *  Throws EOVERWRITTEN, ECOMPACTED. */
  async #checkHistory(live: LiveNamespace, key: Key, place: LogPlace, now: State): Promise<void> {
    const { nodes, spaces } = this.#store
    if (!now.own) throw uncheckable(key)
    let before: State | undefined
    let after = place.seq - 1
    for (let looked = 0; looked < placeRootsMax; ) {
      const roots = await live.roots.page(after, placeStep)
      for (const root of roots.filter(({ seq }) => seq <= now.seq)) {
        after = root.seq
        if (!before ? root.seq !== place.seq : !concerns(root, key)) {
          if (!before) throw uncheckable(key)
          continue
        }
        const state = await this.#olderStateAt(live, spaces.past.holdRoot(root), key)
        const { position } = place
        const grown = before
          ? await isExtension(nodes, before.array, state.array, key)
          : state.array.count >= position.index && (await isPrefixAt(nodes, state.array, position))
        if (!grown) throw overwritten(key)
        before = state
      }
      looked += roots.length
      if (roots.length < placeStep || after >= now.seq) {
        if (!before) throw uncheckable(key)
        if (await isExtension(nodes, before.array, now.array, key)) return
        throw overwritten(key)
      }
      await setImmediate()
    }
    throw uncheckable(key)
  }

  /** Reads the state of the key at an older root, and disposes of the hold. Throws EOVERWRITTEN
   *  where there was no value, ECOMPACTED where the root is no longer retained. */
  async #olderStateAt(live: LiveNamespace, held: HeldRoot, key: Key): Promise<State> {
    const { seq } = held.root
    if (seq < (live.retention.known ?? 0)) {
      held[Symbol.dispose]()
      throw uncheckable(key)
    }
    const state = await this.#stateAt(live, held, key).catch((error: unknown) => {
      throw isCode(error, 'EISDIR') ? overwritten(key) : error
    })
    if (!state?.own) throw overwritten(key)
    return state
  }

  /** Reads the state of the key at the held root, and disposes of the hold. Undefined where there
   *  is no value. Throws EISDIR. */
  async #stateAt(live: LiveNamespace, held: HeldRoot, key: Key): Promise<State | undefined> {
    const admit = admitOf(this.#rights, 'read')
    using snapshot = await holdSnapshot(this.#store.spaces, live, held, admit)
    const found = await this.#store.reader.find(snapshot, key, { follow: true })
    const { treeobj } = found
    if (!treeobj || treeobj.type === 'symlink') return undefined
    if (treeobj.type === 'dir') throw new TailraceError('EISDIR', `"${key}" is a directory`)
    const array = await arrayOf(this.#store.nodes, treeobj)
    const own = found.namespace === live.name && found.key === key
    return { array, base: baseOf(treeobj), own, seq: snapshot.seq }
  }
}

/** Makes the place behind all blobs of an array. */
function placeOf(live: LiveNamespace, { array, seq }: Pick<State, 'array' | 'seq'>): LogPlace {
  const { incarnation } = live.record
  const prefix: Blobref = arrayRef(array)
  return { position: { incarnation, index: array.count, prefix }, offset: array.size, seq }
}

/** Returns true if the first `position.index` blobs of the array are those that the position names.
 *  REQUIRES: the array has as many blobs. */
async function isPrefixAt(nodes: Nodes, array: AppendArray, position: Position): Promise<boolean> {
  return arrayRef(await truncateArray(nodes, array, position.index)) === position.prefix
}

/** Returns true if `after` begins with all blobs of `before`. Throws ECOMPACTED where the nodes to
 *  compare are gone after a trim. */
async function isExtension(
  nodes: Nodes,
  before: AppendArray,
  after: AppendArray,
  key: Key,
): Promise<boolean> {
  try {
    return await isPrefix(nodes, before, after)
  } catch (error) {
    throw isCode(error, 'EDANGLING') ? uncheckable(key) : error
  }
}

function overwritten(key: string): TailraceError {
  const message = `"${key}" was overwritten since that position: what is there is another history, start anew`
  return new TailraceError('EOVERWRITTEN', message)
}

/** Makes the error for a place whose history since then cannot be checked. */
function uncheckable(key: string): TailraceError {
  const message = `what became of "${key}" since that position is no more kept: go on from the position itself, without from`
  return new TailraceError('ECOMPACTED', message)
}
