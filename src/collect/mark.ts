/** A mark: from every root that is in use to every blob and node that it needs. See rfc/14.
 *  Invariant: what is not marked is reached by nothing that it was told of. Nodes come from the engine
 *  itself, verified: what only a cache has does not pass for stored. Memory: the mark set, and one node's
 *  refs a level. */

import { setImmediate } from 'node:timers/promises'
import type { Blobref } from '../blob/blobref.js'
import { hashBlob, hashNode } from '../blob/hash.js'
import type { NodeSource } from '../content/content.js'
import type { Engine } from '../engine/engine.js'
import { canceled, isCode, TailraceError } from '../error.js'
import type { Held } from '../past/holds.js'
import { Nodes } from '../tree/nodes.js'
import { type Reached, reachable, reachableFrom } from '../tree/reach.js'
import { MarkSet } from './mark-set.js'

/** A mark gives way to others after this time, and after this many refs. */
export const markSliceMs = 4
export const markSliceRefs = 1_024
/** Bytes of decoded nodes that a mark keeps. */
const markNodesSize = 1024 * 1024

export type MarkOptions = {
  readonly engine: Engine
  /** Monotonic, ms. */
  readonly monotonic: () => number
  readonly signal: AbortSignal
  readonly onProgress: (refs: number) => void
}

export class Mark {
  readonly set = new MarkSet()
  readonly #options: MarkOptions
  readonly #nodes: Nodes
  #began: number
  #since = 0

  constructor(options: MarkOptions) {
    this.#options = options
    this.#began = options.monotonic()
    this.#nodes = new Nodes(new Stored(options.engine), { cacheSize: markNodesSize })
  }

  /** A namespace's newest root: with its present. */
  async newest(ref: Blobref): Promise<void> {
    await this.#walk(reachableFrom(this.#nodes, ref, this.#isWalked, this.#lost))
  }

  /** A root of which only the keys are read any more: its present may be gone. */
  async root(ref: Blobref): Promise<void> {
    if (this.set.isWalked(ref)) return
    this.set.add({ ref, kind: 'node', partial: true })
    const node = await this.#nodes.load(ref).catch((error) => this.#lost(ref, error))
    if (!node) return
    if (node.kind !== 'root') throw corrupt(ref)
    await this.#walk(reachable(this.#nodes, node.data, this.#isWalked, this.#lost))
  }

  /** What a reader or a pin holds. A reader may have begun while its root was the newest, and look into its
   *  present: what is left of that stays. */
  async held(held: Held): Promise<void> {
    if ('root' in held) await this.newest(held.root)
    else await this.#walk(reachable(this.#nodes, held.treeobj, this.#isWalked, this.#lost))
  }

  readonly #isWalked = (ref: Blobref) => this.set.isWalked(ref)

  /** What is missing, or is a value's blob, has nothing below it that anybody could find; what is damaged
   *  may have. */
  readonly #lost = (_: Blobref, error: unknown): undefined => {
    if (isCode(error, 'EDANGLING')) return undefined
    throw error
  }

  async #walk(refs: AsyncIterable<Reached>): Promise<void> {
    for await (const reached of refs) {
      this.set.add(reached)
      if (this.#isDue()) await this.#giveWay()
    }
    // A root of which all was known takes its time, too.
    if (this.#isDue()) await this.#giveWay()
  }

  #isDue(): boolean {
    if (++this.#since >= markSliceRefs) return true
    return this.#since % 32 === 0 && this.#options.monotonic() - this.#began >= markSliceMs
  }

  async #giveWay(): Promise<void> {
    const { signal, onProgress, monotonic } = this.#options
    onProgress(this.set.count)
    await setImmediate()
    if (signal.aborted) throw canceled(signal)
    this.#since = 0
    this.#began = monotonic()
  }
}

function corrupt(ref: Blobref): TailraceError {
  const message = `the stored bytes of ${ref} do not match it: nothing was collected; run "tailrace fsck"`
  return new TailraceError('ECORRUPT', message)
}

/** Nodes as the engine has them. */
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
