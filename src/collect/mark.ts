/** A mark walks from every root in use to every blob and node that the root needs. See rfc/14,
 *  rules 2 to 5.
 *  Invariant: no root that was given to the mark reaches an unmarked ref. Nodes are loaded from the
 *  engine and verified, so that a node that only a cache has does not count as stored. Memory: the
 *  mark set, and the refs of one node for each level. */

import type { Blobref } from '../blob/blobref.js'
import { hashBlob, hashNode } from '../blob/hash.js'
import type { NodeSource } from '../content/content.js'
import type { Engine } from '../engine/engine.js'
import { canceled, isCode, TailraceError } from '../error.js'
import type { Held } from '../past/holds.js'
import { Nodes } from '../tree/nodes.js'
import { type Reached, reachable, reachableFrom } from '../walk/reach.js'
import { MarkSet } from './mark-set.js'

/** The number of refs after which a mark lets the event loop turn. */
const markSliceRefs = 1_024
/** The number of refs between two looks at the clock. */
const refsPerLook = 8
/** The memory for decoded nodes of a mark, in bytes. */
const markNodesSize = 1024 * 1024

type MarkOptions = {
  readonly engine: Engine
  /** The monotonic clock, in ms. */
  readonly monotonic: () => number
  /** Resolves once the mark may go on, to the time in ms that it may take until the next call. */
  readonly turn: () => Promise<number>
  readonly signal: AbortSignal
  /** Called with the number of refs that were marked so far. */
  readonly onProgress: (refs: number) => void
}

/** The mark of one collection. Each call throws ECORRUPT, EIO, ECLOSED, ECANCELED. */
export class Mark {
  /** The refs that were marked so far. */
  readonly set = new MarkSet()
  readonly #options: MarkOptions
  readonly #nodes: Nodes
  /** The time at which the slice is over. */
  #until: number
  #since = 0

  constructor(options: MarkOptions) {
    this.#options = options
    this.#until = options.monotonic()
    this.#nodes = new Nodes(new Stored(options.engine), { cacheSize: markNodesSize })
  }

  /** Marks the newest root of a namespace: both its trees, `data` and `meta`. */
  async newest(ref: Blobref): Promise<void> {
    await this.#walk(reachableFrom(this.#nodes, ref, this.#isWalked, this.#lost))
  }

  /** Marks an older root: its tree `data` only, since nobody reads its `meta`,
   *  which may be freed already. */
  async root(ref: Blobref): Promise<void> {
    if (this.set.isWalked(ref)) return
    this.set.add({ ref, kind: 'node', partial: true })
    const node = await this.#nodes.load(ref).catch((error) => this.#lost(ref, error))
    if (!node) return
    if (node.kind !== 'root') throw corrupt(ref)
    await this.#walk(reachable(this.#nodes, node.data, this.#isWalked, this.#lost))
  }

  /** Marks what a reader or a pin holds. It marks both trees of a held root, as far as they are
   *  there, since a reader may have begun while its root was the newest. */
  async held(held: Held): Promise<void> {
    if ('root' in held) await this.newest(held.root)
    else await this.#walk(reachable(this.#nodes, held.treeobj, this.#isWalked, this.#lost))
  }

  readonly #isWalked = (ref: Blobref) => this.set.isWalked(ref)

  /** Ignores a node that is missing or is a value's blob: nothing below it can be reached. Throws
   *  for a damaged node, since something below it may be in use. */
  readonly #lost = (_: Blobref, error: unknown): undefined => {
    if (isCode(error, 'EDANGLING')) return undefined
    throw error
  }

  async #walk(refs: AsyncIterable<Reached>): Promise<void> {
    for await (const reached of refs) {
      this.set.add(reached)
      if (this.#isDue()) await this.#giveWay()
    }
    // A walk that yields no ref takes time too.
    if (this.#isDue()) await this.#giveWay()
  }

  #isDue(): boolean {
    if (++this.#since >= markSliceRefs) return true
    return this.#since % refsPerLook === 0 && this.#options.monotonic() >= this.#until
  }

  async #giveWay(): Promise<void> {
    const { signal, onProgress, monotonic, turn } = this.#options
    onProgress(this.set.count)
    const sliceMs = await turn()
    if (signal.aborted) throw canceled(signal)
    this.#since = 0
    this.#until = monotonic() + sliceMs
  }
}

function corrupt(ref: Blobref): TailraceError {
  const message = `the stored bytes of ${ref} do not match it: nothing was collected; run "tailrace fsck"`
  return new TailraceError('ECORRUPT', message)
}

/** A source of nodes that loads each from the engine and verifies it. */
class Stored implements NodeSource {
  readonly #engine: Engine

  constructor(engine: Engine) {
    this.#engine = engine
  }

  peekNode(): undefined {
    return undefined
  }

  async loadNode(ref: Blobref): Promise<Uint8Array> {
    const [bytes] = await this.#engine.load([ref])
    if (!bytes) throw new TailraceError('EDANGLING', `${ref} is named by a tree but not stored`)
    if (hashNode(bytes) !== ref) {
      if (hashBlob(bytes) === ref) throw new TailraceError('EDANGLING', `${ref} is not a node`)
      throw corrupt(ref)
    }
    return bytes
  }
}
