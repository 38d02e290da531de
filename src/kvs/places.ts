/** Places in append keys, for readers that hold bytes and no events. See rfc/7, rules 20 to 22.
 *  Invariant: a place that was checked is one of the history that is there now, and so is every byte
 *  before the offset that was asked for; where that cannot be told it is an error. */

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
import { baseOf, compacted } from '../tree/base.js'
import { type Key, parseKey } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import { concerns } from '../tree/root-keys.js'
import type { Base } from '../tree/treeobj.js'
import type { CheckedPlace, LogPlace, LogPlaces } from './log-place.js'
import { peekKey } from './read.js'
import { holdSnapshot } from './snapshot.js'
import type { KeyStore } from './store.js'

/** Roots that a check looks at; beyond them it cannot be told what happened to the key. */
export const placeRootsMax = 10_000
/** Roots looked at between two turns of the event loop. */
const placeStep = 256

type Sight = {
  readonly array: AppendArray
  readonly base: Base
  /** The key itself has the value, no link leads to it. */
  readonly own: boolean
  readonly seq: number
}

export class Places implements LogPlaces {
  readonly #store: KeyStore

  constructor(store: KeyStore) {
    this.#store = store
  }

  /** Behind all that is there. Undefined where there is no value. Throws ENONS, ECOMPACTED, EINVAL. */
  async end(key: string, scope: ReadScope = {}): Promise<LogPlace | undefined> {
    const live = this.#store.namespace(scope.namespace)
    const isNewest = scope.at === undefined || scope.at === live.root.seq
    const peeked = isNewest && this.#peek(live, key)
    if (peeked) return peeked
    const held = await this.#store.spaces.past.hold(live, scope.at)
    const sight = await this.#look(live, held, parseKey(key))
    return sight && placeOf(live, sight)
  }

  /** As `end` at the newest root, undefined where that is not in memory, too. It is asked for with every
   *  value that is read. */
  #peek(live: LiveNamespace, key: string): LogPlace | undefined {
    const { nodes } = this.#store
    const treeobj = peekKey(nodes, live.root, key, { follow: true })?.treeobj
    if (treeobj?.type !== 'val' && treeobj?.type !== 'valref') return undefined
    const array = treeobj.type === 'val' ? arrayOfInline(treeobj) : peekArray(nodes, treeobj)
    return array && placeOf(live, { array, seq: live.root.seq })
  }

  /** Checks that the bytes before `from` are those that a reader has who was at the place, and read on
   *  from there. Throws EOVERWRITTEN (they are not), ENOENT, ECOMPACTED (it cannot be told: what the place
   *  says was dropped, or the roots between it and now). */
  async check(
    key: string,
    place: LogPlace,
    from: number,
    scope: Scope = {},
  ): Promise<CheckedPlace> {
    const live = this.#store.namespace(scope.namespace)
    const { nodes, spaces } = this.#store
    using held = spaces.past.holdRoot(live.root)
    // `held` keeps the root until the end of the check.
    const sight = await this.#look(live, spaces.past.holdRoot(held.root), parseKey(key))
    if (!sight) throw new TailraceError('ENOENT', `"${key}" is not there any more`)
    const { position, offset } = place
    const { array, base } = sight
    const may = position.incarnation === live.record.incarnation && position.index <= array.count
    if (!may || from > array.size) throw overwritten(key)
    if (from > offset) await this.#followUp(live, parseKey(key), place, sight)
    else if (position.index < base.count) throw compacted(`append ${position.index}`, base)
    else if (!(await begins(nodes, array, position))) throw overwritten(key)
    return {
      end: placeOf(live, sight),
      includes: async (other) => other.index <= array.count && begins(nodes, array, other),
    }
  }

  /** Each state of the key since then begins with the one before. */
  async #followUp(live: LiveNamespace, key: Key, place: LogPlace, now: Sight): Promise<void> {
    const { nodes, spaces } = this.#store
    if (!now.own) throw untold(key)
    let before: Sight | undefined
    let after = place.seq - 1
    for (let looked = 0; looked < placeRootsMax; ) {
      const roots = await live.roots.page(after, placeStep)
      for (const root of roots.filter(({ seq }) => seq <= now.seq)) {
        after = root.seq
        if (!before ? root.seq !== place.seq : !concerns(root, key)) {
          if (!before) throw untold(key)
          continue
        }
        const state = await this.#lookThen(live, spaces.past.holdRoot(root), key)
        const { position } = place
        const grown = before
          ? await extended(nodes, before.array, state.array, key)
          : state.array.count >= position.index && (await begins(nodes, state.array, position))
        if (!grown) throw overwritten(key)
        before = state
      }
      looked += roots.length
      if (roots.length < placeStep || after >= now.seq) {
        if (!before) throw untold(key)
        if (await extended(nodes, before.array, now.array, key)) return
        throw overwritten(key)
      }
      await setImmediate()
    }
    throw untold(key)
  }

  /** Throws EOVERWRITTEN where there was no value, ECOMPACTED where the root has gone. */
  async #lookThen(live: LiveNamespace, held: HeldRoot, key: Key): Promise<Sight> {
    const { seq } = held.root
    if (seq < (live.retention.known ?? 0)) {
      held[Symbol.dispose]()
      throw untold(key)
    }
    const sight = await this.#look(live, held, key).catch((error: unknown) => {
      throw isCode(error, 'EISDIR') ? overwritten(key) : error
    })
    if (!sight?.own) throw overwritten(key)
    return sight
  }

  /** Disposes of the hold. Throws EISDIR. */
  async #look(live: LiveNamespace, held: HeldRoot, key: Key): Promise<Sight | undefined> {
    using snapshot = await holdSnapshot(this.#store.spaces, live, held)
    const found = await this.#store.reader.find(snapshot, key, { follow: true })
    const { treeobj } = found
    if (!treeobj || treeobj.type === 'symlink') return undefined
    if (treeobj.type === 'dir') throw new TailraceError('EISDIR', `"${key}" is a directory`)
    const array = await arrayOf(this.#store.nodes, treeobj)
    const own = found.namespace === live.name && found.key === key
    return { array, base: baseOf(treeobj), own, seq: snapshot.seq }
  }
}

function placeOf(live: LiveNamespace, { array, seq }: Pick<Sight, 'array' | 'seq'>): LogPlace {
  const { incarnation } = live.record
  const prefix: Blobref = arrayRef(array)
  return { position: { incarnation, index: array.count, prefix }, offset: array.size, seq }
}

/** REQUIRES: the array has as many blobs. */
async function begins(nodes: Nodes, array: AppendArray, position: Position): Promise<boolean> {
  return arrayRef(await truncateArray(nodes, array, position.index)) === position.prefix
}

/** Throws ECOMPACTED where a trim took what would tell. */
async function extended(
  nodes: Nodes,
  before: AppendArray,
  after: AppendArray,
  key: Key,
): Promise<boolean> {
  try {
    return await isPrefix(nodes, before, after)
  } catch (error) {
    throw isCode(error, 'EDANGLING') ? untold(key) : error
  }
}

function overwritten(key: string): TailraceError {
  const message = `"${key}" was overwritten since that position: what is there is another history, start anew`
  return new TailraceError('EOVERWRITTEN', message)
}

function untold(key: string): TailraceError {
  const message = `what became of "${key}" since that position is no more kept: go on from the position itself, without from`
  return new TailraceError('ECOMPACTED', message)
}
