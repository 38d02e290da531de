/** A namespace as it lives in this process: its newest root, its retained roots, who waits for it.
 *  See rfc/6.
 *  Invariant: `head` is durable; only the namespace's commit loop moves it. */

import { Wakeup } from '../base/wakeup.js'
import type { Engine, Head, Namespace, Revision, Root } from '../engine/engine.js'
import { canceled, TailraceError } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import { type RootNode, readRoot } from '../tree/root.js'
import type { Dir } from '../tree/treeobj.js'
import type { NamespaceView } from './kvs.js'
import { RootLog } from './root-log.js'
import { readSettings } from './settings.js'

export class LiveNamespace {
  readonly record: Namespace
  readonly roots: RootLog
  /** Wakes when the head moves, and when the namespace ends. */
  readonly moved = new Wakeup()
  readonly #nodes: Nodes
  #root: Root
  #revision: Revision
  #ended: TailraceError | undefined

  constructor(engine: Engine, nodes: Nodes, head: Head) {
    this.record = head.namespace
    this.#nodes = nodes
    this.#root = head.root
    this.#revision = head.revision
    this.roots = new RootLog(engine, head.namespace.name, head.root)
  }

  get name(): string {
    return this.record.name
  }

  get root(): Root {
    return this.#root
  }

  get revision(): Revision {
    return this.#revision
  }

  /** Why nothing more will come: ENONS (removed) or ECLOSED. */
  get ended(): TailraceError | undefined {
    return this.#ended
  }

  /** Only for the commit loop. REQUIRES: the engine has applied it. */
  advance(root: Root, revision: Revision): void {
    this.#root = root
    this.#revision = revision
    this.roots.push(root)
    this.moved.wake()
  }

  end(reason: TailraceError): void {
    this.#ended ??= reason
    this.moved.wake()
  }

  /** The trees of a root, from memory where it is there. */
  async trees(root: Root): Promise<RootNode> {
    return readRoot(this.#nodes, root.ref)
  }

  async data(root: Root = this.#root): Promise<Dir> {
    return (await this.trees(root)).data
  }

  /** What is said of it to users. */
  async view(): Promise<NamespaceView> {
    const { name, incarnation, owner, created } = this.record
    const { seq, ref } = this.#root
    const { data, meta } = await this.trees(this.#root)
    const settings = await readSettings(this.#nodes, meta)
    const { keys, size } = data
    return { name, incarnation, owner, created, seq, ref, keys, size, settings }
  }

  /** Waits until the head is at `seq` or beyond. Throws ENONS, ECLOSED, ECANCELED. */
  async reach(seq: number, signal: AbortSignal | undefined): Promise<void> {
    if (!Number.isSafeInteger(seq) || seq < 0) {
      throw new TailraceError('EINVAL', 'a seq is a whole number, 0 or more')
    }
    for (;;) {
      if (signal?.aborted) throw canceled(signal)
      if (this.#ended) throw this.#ended
      const seen = this.moved.count
      if (this.#root.seq >= seq) return
      await this.moved.wait(seen, signal)
    }
  }
}
