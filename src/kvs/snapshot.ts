/** Snapshots whose trees no collection frees while they are read. See rfc/10, rules 8 and 9.
 *  Invariant: the root of a snapshot, and each root of another namespace that a link led to, is
 *  held until the snapshot is disposed of. */

import { type HeldRoot, readerHoldMs } from '../past/holds.js'
import type { LiveNamespace } from '../past/namespace.js'
import type { Past } from '../past/past.js'
import type { Admit } from '../tree/rights.js'
import type { RootNode } from '../tree/root.js'
import type { Dir } from '../treeobj/treeobj.js'
import type { Snapshot } from './read.js'

/** A snapshot whose roots are held until it is disposed of. */
export type HeldSnapshot = Snapshot &
  Disposable & {
    readonly meta: Dir
    /** Keeps the root readable for `keptRootMs`. Called where the answer names the root
     *  for a next page. */
    readonly keep: () => void
  }

/** The namespaces that links of a snapshot may lead to. */
type LinkedNamespaces = {
  readonly past: Past
  readonly peek: (name: string) => LiveNamespace | undefined
}

/** Makes a snapshot of a held root, and takes over the hold: it ends with the snapshot, or when
 *  this throws. `admit` judges each key that a link leads to. Throws EDANGLING, ECORRUPT, EIO. */
export async function holdSnapshot(
  spaces: LinkedNamespaces,
  live: LiveNamespace,
  held: HeldRoot,
  admit?: Admit,
): Promise<HeldSnapshot> {
  try {
    return new RootSnapshot(spaces, live, { held, trees: await live.trees(held.root), admit })
  } catch (error) {
    held[Symbol.dispose]()
    throw error
  }
}

/** The snapshot of a held root. A class, not an object of functions: there is one for each key that is
 *  watched. */
class RootSnapshot implements HeldSnapshot {
  readonly #spaces: LinkedNamespaces
  readonly #live: LiveNamespace
  readonly #held: HeldRoot
  readonly #trees: RootNode
  readonly admit: Admit | undefined
  /** The holds of other namespaces' roots. */
  #others: Disposable[] | undefined

  constructor(
    spaces: LinkedNamespaces,
    live: LiveNamespace,
    root: {
      readonly held: HeldRoot
      readonly trees: RootNode
      readonly admit: Admit | undefined
    },
  ) {
    this.#spaces = spaces
    this.#live = live
    this.#held = root.held
    this.#trees = root.trees
    this.admit = root.admit
  }

  get namespace(): string {
    return this.#live.name
  }

  get seq(): number {
    return this.#held.root.seq
  }

  get meta(): Dir {
    return this.#trees.meta
  }

  views(name: string): Dir | Promise<Dir> | undefined {
    return name === this.#live.name ? this.#trees.data : this.#elsewhere(name)
  }

  keep(): void {
    this.#spaces.past.kept.keep(this.#live, this.#held.root)
  }

  [Symbol.dispose](): void {
    this.#held[Symbol.dispose]()
    for (const hold of this.#others?.splice(0) ?? []) hold[Symbol.dispose]()
  }

  #elsewhere(name: string): Promise<Dir> | undefined {
    const other = this.#spaces.peek(name)
    if (!other) return undefined
    this.#others ??= []
    this.#others.push(this.#spaces.past.holds.hold(other.root.ref))
    return other.data()
  }
}

/** Passes chunks on, and disposes of their snapshot when they end, fail or are left; after
 *  `readerHoldMs` if nobody asks for the first one. */
export function heldChunks(
  chunks: AsyncIterable<Uint8Array>,
  snapshot: Disposable,
  timer: (ms: number, act: () => void) => Disposable,
): AsyncIterable<Uint8Array> {
  const release = () => snapshot[Symbol.dispose]()
  const unasked = timer(readerHoldMs, release)
  return {
    async *[Symbol.asyncIterator]() {
      unasked[Symbol.dispose]()
      try {
        yield* chunks
      } finally {
        release()
      }
    },
  }
}
