/** The store embedded in this process: namespaces, each with its commit loop, over one engine. See
 *  rfc/6. The watch room makes it a whole Kvs.
 *  Invariant: `primary` and the reserved namespaces are always there. */

import { abortable } from '../base/abortable.js'
import type { Environment } from '../base/environment.js'
import { joinAbort } from '../base/join-abort.js'
import type { Content } from '../content/content.js'
import type { Engine, Head, Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { TreeobjJson } from '../tree/json.js'
import { parseNamespaceName } from '../tree/namespace-name.js'
import { Nodes, NodeWriter } from '../tree/nodes.js'
import { emptyRoot, writeRoot } from '../tree/root.js'
import { Committer, type CommitterPorts } from './committer.js'
import {
  type AppendOptions,
  type CommitOptions,
  type Committed,
  type CommittedOp,
  getSizeMax,
  type Kvs,
  type Listing,
  type ListOptions,
  type NamespaceView,
  type Op,
  type PutOptions,
  primary,
  type Reading,
  type ReadOptions,
  type ReadScope,
  type RootView,
  readKeysMax,
  reservedNamespaces,
  type Scope,
  type Stat,
  type StatOptions,
  type Transaction,
  type TreeobjOptions,
  type Value,
} from './kvs.js'
import { LiveNamespace } from './namespace.js'
import { holdBack, storeArray } from './put-stream.js'
import { Reader, type Snapshot } from './read.js'
import { type Prepared, prepare, prepareStoredPut } from './transaction.js'

/** What the watch service is told. */
export interface StoreListener {
  /** A root is durable and visible. */
  moved(namespace: LiveNamespace, root: Root): void
  /** A namespace was made, or has ended. */
  changed(namespace: LiveNamespace): void
}

type Open = { readonly live: LiveNamespace; readonly committer: Committer }

export class KeyStore implements Omit<Kvs, 'watch'>, AsyncDisposable {
  readonly reader: Reader
  readonly nodes: Nodes
  readonly #engine: Engine
  readonly #content: Content
  readonly #environment: Environment
  readonly #open = new Map<string, Open>()
  readonly #listeners = new Set<StoreListener>()
  #closed = false

  private constructor(engine: Engine, content: Content, environment: Environment) {
    this.#engine = engine
    this.#content = content
    this.#environment = environment
    this.nodes = new Nodes(content)
    this.reader = new Reader(content, this.nodes)
  }

  /** Makes what must always be there. The engine stays the caller's to close. */
  static async open(engine: Engine, content: Content, environment: Environment): Promise<KeyStore> {
    const store = new KeyStore(engine, content, environment)
    for (const head of await engine.roots()) store.#adopt(head)
    for (const name of [primary, ...reservedNamespaces]) {
      if (!store.#open.has(name)) await store.#make(name)
    }
    return store
  }

  listen(listener: StoreListener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  /** Throws ENONS, ECLOSED. */
  namespace(name: string = primary): LiveNamespace {
    return this.#find(name).live
  }

  /** The namespace if it is there. Throws EINVAL. */
  peekNamespace(name: string): LiveNamespace | undefined {
    return this.#open.get(parseNamespaceName(name))?.live
  }

  /** A snapshot of a namespace at one of its roots. Other namespaces, reached by links, are read at
   *  their newest. */
  async snapshot(live: LiveNamespace, root: Root): Promise<Snapshot> {
    const data = await live.data(root)
    return {
      namespace: live.name,
      seq: root.seq,
      views: (name) => (name === live.name ? data : this.#open.get(name)?.live.data()),
    }
  }

  async commit(transaction: Transaction, options: CommitOptions = {}): Promise<Committed> {
    const { namespace, transfer = false, signal } = options
    const { committer } = this.#find(namespace)
    return this.#submit(committer, prepare(transaction, { transfer }), signal)
  }

  async put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<CommittedOp> {
    const { committer } = this.#find(options.namespace)
    const { guards = [], contentType, signal } = options
    const held =
      typeof value === 'string' || value instanceof Uint8Array
        ? { whole: value }
        : await holdBack(abortable(value, signal))
    if ('whole' in held) {
      const kind = contentType === undefined ? {} : { contentType }
      const op: Op = { op: 'put', key, value: held.whole, ...kind }
      return oneOp(await this.#submit(committer, prepare({ guards, ops: [op] }), signal))
    }
    const array = await storeArray(this.#content, this.nodes, held.rest, signal)
    const stored = prepareStoredPut(key, array, { contentType, guards })
    return oneOp(await this.#submit(committer, stored, signal))
  }

  async append(key: string, value: Value, options: AppendOptions = {}): Promise<CommittedOp> {
    const { committer } = this.#find(options.namespace)
    const { guards = [], seal = false, transfer = false } = options
    const prepared = prepare({ guards, ops: [{ op: 'append', key, value, seal }] }, { transfer })
    return oneOp(await this.#submit(committer, prepared, options.signal))
  }

  async get(key: string, options: ReadScope = {}): Promise<Uint8Array | undefined> {
    const reading = await this.read(key, options)
    if (!reading) return undefined
    if (reading.stat.size > getSizeMax) {
      throw new TailraceError('E2BIG', `${key} has ${reading.stat.size} bytes: read it as a stream`)
    }
    const chunks: Uint8Array[] = []
    for await (const chunk of reading.chunks) chunks.push(chunk)
    // A copy even of a lone chunk: those are shared with other readers.
    return Buffer.concat(chunks)
  }

  async read(key: string, options: ReadOptions = {}): Promise<Reading | undefined> {
    return this.reader.read(await this.#snapshotOf(options), key, options)
  }

  async stat(key: string, options: StatOptions = {}): Promise<Stat | undefined> {
    return this.reader.stat(await this.#snapshotOf(options), key, !options.nofollow)
  }

  async treeobj(key: string, options: TreeobjOptions = {}): Promise<TreeobjJson | undefined> {
    return this.reader.treeobj(await this.#snapshotOf(options), key, options)
  }

  async list(key: string, options: ListOptions = {}): Promise<Listing> {
    return this.reader.list(await this.#snapshotOf(options), key, options)
  }

  async readMany(
    keys: readonly string[],
    options: ReadScope = {},
  ): Promise<{ seq: number; values: (Uint8Array | undefined)[] }> {
    if (keys.length > readKeysMax) {
      throw new TailraceError('E2BIG', `one read names at most ${readKeysMax} keys`)
    }
    const snapshot = await this.#snapshotOf(options)
    return { seq: snapshot.seq, values: await this.reader.many(snapshot, keys) }
  }

  async root(options: Scope & { readonly waitSeq?: number } = {}): Promise<RootView> {
    const live = this.namespace(options.namespace)
    if (options.waitSeq !== undefined) await live.reach(options.waitSeq, options.signal)
    const { seq, ref, time } = live.root
    return { namespace: live.name, seq, ref, incarnation: live.record.incarnation, time }
  }

  async namespaces(): Promise<NamespaceView[]> {
    const views: NamespaceView[] = []
    for (const { live } of this.#open.values()) views.push(await live.view())
    return views.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async createNamespace(name: string): Promise<NamespaceView> {
    if (this.#closed) throw closed()
    parseNamespaceName(name)
    if (reservedNamespaces.has(name))
      throw new TailraceError('EPERM', `${name} is a reserved namespace`)
    if (this.#open.has(name)) throw new TailraceError('EEXIST', `the namespace ${name} is there`)
    return (await this.#make(name)).view()
  }

  async removeNamespace(name: string): Promise<void> {
    const { live, committer } = this.#find(name)
    if (name === primary || reservedNamespaces.has(name)) {
      throw new TailraceError('EPERM', `the namespace ${name} is always there`)
    }
    const reason = new TailraceError('ENONS', `the namespace ${name} was removed`)
    await committer.close(reason)
    try {
      await this.#engine.remove(name, live.record.incarnation)
    } catch (error) {
      committer.reopen()
      throw error
    }
    this.#open.delete(name)
    this.#end(live, reason)
  }

  /** Answers what is on its way; whatever waits then is told ECLOSED. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const { live, committer } of this.#open.values()) {
      await committer.close(closed())
      this.#end(live, closed())
    }
  }

  /** REQUIRES: its root moves no more, so that watchers see all of it before its end. */
  #end(live: LiveNamespace, reason: TailraceError): void {
    live.end(reason)
    for (const listener of this.#listeners) listener.changed(live)
  }

  #find(name: string = primary): Open {
    if (this.#closed) throw closed()
    const open = this.#open.get(name)
    if (open) return open
    parseNamespaceName(name)
    throw new TailraceError('ENONS', `there is no namespace ${name}`)
  }

  #adopt(head: Head): LiveNamespace {
    const live = new LiveNamespace(this.#engine, this.nodes, head)
    const ports: CommitterPorts = {
      engine: this.#engine,
      content: this.#content,
      nodes: this.nodes,
      environment: this.#environment,
      views: (name) => this.#open.get(name)?.live.data(),
      moved: (namespace, root) => {
        for (const listener of this.#listeners) listener.moved(namespace, root)
      },
    }
    this.#open.set(live.name, { live, committer: new Committer(ports, live) })
    return live
  }

  async #make(name: string): Promise<LiveNamespace> {
    const { id, now } = this.#environment
    using writer = new NodeWriter(this.nodes)
    const ref = writeRoot(writer, emptyRoot)
    const root: Root = { seq: 0, ref, tx: id(), time: now(), epoch: 0, keys: [] }
    const namespace = { name, incarnation: id(), owner: 'owner', created: now() }
    const head = await this.#engine.create(namespace, root, writer.blobs)
    this.#content.remember(writer.blobs)
    const live = this.#adopt(head)
    for (const listener of this.#listeners) listener.changed(live)
    return live
  }

  /** A caller that leaves early learns ECANCELED; what it submitted may still be committed. */
  #submit(committer: Committer, prepared: Prepared, signal?: AbortSignal): Promise<Committed> {
    return joinAbort(committer.submit(prepared), signal)
  }

  async #snapshotOf(options: ReadScope): Promise<Snapshot> {
    const live = this.namespace(options.namespace)
    if (options.minSeq !== undefined) await live.reach(options.minSeq, options.signal)
    const newest = live.root
    const root = options.at === undefined ? newest : await live.roots.at(options.at, newest)
    return this.snapshot(live, root)
  }
}

function oneOp({ seq, ref, results }: Committed): CommittedOp {
  return { seq, ref, result: results[0] ?? {} }
}

function closed(): TailraceError {
  return new TailraceError('ECLOSED', 'the store is closed')
}
