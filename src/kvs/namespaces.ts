/** The namespaces of a store, each with its commit loop. See rfc/6.
 *  Invariant: `primary` and the reserved namespaces are always there. Waiters and watchers of a
 *  removed namespace have seen everything that was committed in it before they are told of its
 *  end. */

import { primary, reservedNamespaces } from '../api/namespace.js'
import type { Committed } from '../api/transaction.js'
import type { Environment } from '../base/environment.js'
import { alone } from '../commit/alone.js'
import { Committer, type CommitterPorts, type Open } from '../commit/committer.js'
import { WaitingBudget } from '../commit/waiting-budget.js'
import type { Content } from '../content/content.js'
import type { Engine, Head, Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import { LiveNamespace, type StoreListener } from '../past/namespace.js'
import { Past } from '../past/past.js'
import { AnsweredBefore } from '../present/answers.js'
import type { Prepared } from '../transaction/apply.js'
import { namespacesTakenFrom } from '../transaction/transaction.js'
import { checkTreeobjs } from '../transaction/treeobj-check.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'
import { emptyRoot, writeRoot } from '../tree/root.js'
import { parseNamespaceName } from '../treeobj/key.js'
import { type Dir, emptyDir } from '../treeobj/treeobj.js'
import { Uploads } from './uploads.js'

type NamespacesPorts = {
  readonly engine: Engine
  readonly content: Content
  readonly nodes: Nodes
  readonly environment: Environment
}

/** The namespaces of one engine. */
export class OpenNamespaces implements AsyncDisposable {
  readonly past: Past
  /** Blobs that are stored before a root names them. */
  readonly uploads: Uploads
  readonly #ports: NamespacesPorts
  readonly #waiting = new WaitingBudget()
  readonly #open = new Map<string, Open>()
  readonly #listeners = new Set<StoreListener>()
  #closed = false

  private constructor(ports: NamespacesPorts) {
    this.#ports = ports
    this.past = new Past(ports.environment, ports.nodes, () => this.find('system').live.data())
    this.uploads = new Uploads(ports.environment)
  }

  /** Opens the namespaces of an engine, and creates `primary` and the reserved ones where they are
   *  missing. The caller closes the engine. */
  static async open(ports: NamespacesPorts): Promise<OpenNamespaces> {
    const namespaces = new OpenNamespaces(ports)
    for (const head of await ports.engine.roots()) {
      const live = namespaces.#adopt(head)
      await namespaces.find(live.name).committer.present.open()
    }
    for (const name of [primary, ...reservedNamespaces]) {
      if (!namespaces.#open.has(name)) await namespaces.#make(name, emptyDir)
    }
    return namespaces
  }

  /** Calls `listener` for each new root, and for each namespace that is made or ends, until it
   *  is disposed of. */
  listen(listener: StoreListener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  /** Lists the namespaces in no particular order. */
  all(): readonly Open[] {
    return [...this.#open.values()]
  }

  /** The number of leases that are held in all namespaces. */
  get leases(): number {
    return this.all().reduce((sum, { committer }) => sum + committer.present.leases.size, 0)
  }

  /** Returns a namespace with its commit loop. Throws ENONS, EINVAL, ECLOSED. */
  find(name: string = primary): Open {
    this.checkOpen()
    const open = this.#open.get(name)
    if (open) return open
    parseNamespaceName(name)
    throw new TailraceError('ENONS', `there is no namespace ${name}`)
  }

  /** Returns a namespace, or undefined if there is none of that name. Throws EINVAL. */
  peek(name: string): LiveNamespace | undefined {
    return this.#open.get(parseNamespaceName(name))?.live
  }

  /** Returns the newest tree of a namespace, for links that lead there. Undefined if there is no
   *  such namespace. */
  view(name: string): Promise<Dir> | undefined {
    return this.#open.get(name)?.live.data()
  }

  /** Returns the tree that a copy takes from: that of a namespace, now or at a retained root, which
   *  is then held for `readerHoldMs`. Throws ENONS, ECOMPACTED, EINVAL. */
  async source(name: string | undefined, at: number | string | undefined): Promise<Dir> {
    const { live } = this.find(name)
    if (at === undefined) return live.data()
    using held = await this.past.hold(live, at)
    // No root names the copy yet.
    this.past.holds.holdFor(held.root.ref)
    return live.data(held.root)
  }

  /** Commits a transaction; resolves once it is durable in each namespace that it changes. Throws
   *  ENONS, EINVAL, ECLOSED (at once), and what `Committer.submit` throws. */
  commit(name: string | undefined, unchecked: Prepared, signal?: AbortSignal): Promise<Committed> {
    const { committer } = this.find(name)
    // Most transactions need nothing but the commit loop of their namespace.
    const isPlain = unchecked.ops.every(({ op }) => op !== 'treeobj' && op !== 'move')
    return isPlain ? committer.submit(unchecked) : this.#commitChecked(name, unchecked, signal)
  }

  async #commitChecked(
    name: string | undefined,
    unchecked: Prepared,
    signal: AbortSignal | undefined,
  ): Promise<Committed> {
    const hasTreeobj = unchecked.ops.some(({ op }) => op === 'treeobj')
    // Keeps the blobs that the check finds until a root names them.
    using upload = hasTreeobj ? this.uploads.begin() : undefined
    const prepared = upload
      ? await checkTreeobjs(
          { ...this.#ports, signal, note: (refs) => upload.note(refs) },
          unchecked,
        )
      : unchecked
    const { live, committer } = this.find(name)
    const others = namespacesTakenFrom(prepared, live.name)
    if (others.length === 0) return await committer.submit(prepared)
    const { engine } = this.#ports
    const committers = others.map((other) => this.find(other).committer)
    if (engine.supports.shared) {
      const message = 'on a shared engine nothing moves between namespaces: copy, then unlink'
      throw new TailraceError('EINVAL', message)
    }
    try {
      return await alone(engine, [committer, ...committers], (commit) => commit(prepared))
    } catch (error) {
      if (error instanceof AnsweredBefore) return error.committed
      throw error
    }
  }

  /** Makes a namespace with a tree, empty by default. Throws EEXIST, EINVAL, EPERM
   *  (reserved), ECLOSED. */
  async create(name: string, data: Dir = emptyDir): Promise<LiveNamespace> {
    this.checkOpen()
    parseNamespaceName(name)
    if (reservedNamespaces.has(name))
      throw new TailraceError('EPERM', `${name} is a reserved namespace`)
    if (this.#open.has(name)) throw new TailraceError('EEXIST', `the namespace ${name} is there`)
    return this.#make(name, data)
  }

  /** Removes a namespace when the commit group that is on its way was answered (rfc/6, rule 17).
   *  Throws ENONS, EPERM (`primary`, reserved), EIO. */
  async remove(name: string): Promise<void> {
    const { live, committer } = this.find(name)
    if (name === primary || reservedNamespaces.has(name)) {
      throw new TailraceError('EPERM', `the namespace ${name} is always there`)
    }
    const reason = new TailraceError('ENONS', `the namespace ${name} was removed`)
    await committer.close(reason)
    try {
      await this.#ports.engine.remove(name, live.record.incarnation)
    } catch (error) {
      committer.reopen()
      throw error
    }
    this.#open.delete(name)
    committer.present[Symbol.dispose]()
    this.#end(live, reason)
  }

  /** Throws ECLOSED if the store is closed. */
  checkOpen(): void {
    if (this.#closed) throw closed()
  }

  /** Waits for the commit groups that are on their way, and refuses whatever waits
   *  then with ECLOSED. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const { live, committer } of this.#open.values()) {
      await committer.close(closed())
      committer.present[Symbol.dispose]()
      this.#end(live, closed())
    }
  }

  /** Ends a namespace for its waiters, watchers and kept roots. REQUIRES: its root moves no more;
   *  otherwise watchers would miss what is committed after. */
  #end(live: LiveNamespace, reason: TailraceError): void {
    live.end(reason)
    this.past.kept.end(live)
    for (const listener of this.#listeners) listener.changed?.(live)
  }

  #adopt(head: Head): LiveNamespace {
    const { engine, content, nodes, environment } = this.#ports
    const live = new LiveNamespace(engine, nodes, environment.now, head)
    const ports: CommitterPorts = {
      engine,
      content,
      nodes,
      environment,
      waiting: this.#waiting,
      views: (name) => this.view(name),
      sources: (name, at) => this.source(name, at),
      moved: (namespace, root) => {
        for (const listener of this.#listeners) listener.moved?.(namespace, root)
      },
      committed: (group) => {
        for (const listener of this.#listeners) listener.committed?.(group)
      },
    }
    this.#open.set(live.name, { live, committer: new Committer(ports, live) })
    return live
  }

  async #make(name: string, data: Dir): Promise<LiveNamespace> {
    const { engine, content, nodes, environment } = this.#ports
    const { id, now } = environment
    using writer = new NodeWriter(nodes)
    const ref = writeRoot(writer, { ...emptyRoot, data })
    const written = writer.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0)
    const measures = { written, size: data.size }
    const root: Root = { seq: 0, ref, tx: id(), time: now(), epoch: 0, keys: [], ...measures }
    const namespace = { name, incarnation: id(), owner: 'owner', created: now() }
    const head = await engine.create(namespace, root, writer.blobs)
    await content.remember(writer.blobs)
    const live = this.#adopt(head)
    for (const listener of this.#listeners) listener.changed?.(live)
    return live
  }
}

function closed(): TailraceError {
  return new TailraceError('ECLOSED', 'the store is closed')
}
