/** The key-value store of this process: reads and writes of namespaces over one engine. See rfc/6.
 *  Invariant: `primary` and the reserved namespaces are always there. */

import type { History } from '../api/history.js'
import {
  type AppendOptions,
  type CommitOptions,
  getSizeMax,
  type Kvs,
  type Listing,
  type ListOptions,
  type PutOptions,
  type Reading,
  type ReadOptions,
  type ReadScope,
  type RootOptions,
  type RootView,
  readKeysMax,
  type Stat,
  type StatOptions,
  type TreeobjOptions,
} from '../api/kvs.js'
import type { NamespaceView } from '../api/namespace.js'
import type {
  Capping,
  Committed,
  CommittedOp,
  Expiry,
  Op,
  Transaction,
  Value,
} from '../api/transaction.js'
import type { Usage } from '../api/upkeep.js'
import { abortable, joinAbort } from '../base/abort.js'
import type { Environment } from '../base/environment.js'
import { LoopSlice } from '../base/loop-slice.js'
import { writtenAnew } from '../blob/blob.js'
import type { Committer } from '../commit/committer.js'
import type { Content } from '../content/content.js'
import type { LifeKind } from '../draft/meta.js'
import type { Engine, Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { LiveNamespace, StoreListener } from '../past/namespace.js'
import { Pinning } from '../past/pinning.js'
import { rootAtTime, Timeline } from '../past/timeline.js'
import { readCap } from '../present/cap.js'
import { readExpires } from '../present/expiry.js'
import type { Prepared } from '../transaction/apply.js'
import { onceUnder } from '../transaction/digest.js'
import { prepare, prepareStoredPut } from '../transaction/transaction.js'
import { peekEntry } from '../tree/dir.js'
import { Nodes } from '../tree/nodes.js'
import { admitOf, type Rights } from '../tree/rights.js'
import { statOf } from '../treeobj/codec.js'
import { parseKey } from '../treeobj/key.js'
import { type Dir, sizeLeft, type TreeobjJson } from '../treeobj/treeobj.js'
import { OpenNamespaces } from './namespaces.js'
import { type Peeked, peekKey, Reader } from './read.js'
import { type HeldSnapshot, heldChunks, holdSnapshot } from './snapshot.js'
import { holdBack, storeArray } from './uploads.js'

/** The largest number of keys that `readNow` looks up, in one step of the event loop. */
const keysNowMax = 64

/** The values of some keys at one root. A missing key has none. */
export type ValuesNow = {
  readonly seq: number
  readonly values: readonly (Uint8Array | undefined)[]
}

/** The rights of the caller. They are checked on the keys that links lead to; the caller has checked
 *  those that it names. Absent: all. */
export type Limited = { readonly rights?: Rights | undefined }
type Traced = Pick<CommitOptions, 'trace'>

/** The calls of a Kvs that `KeyStore` implements. `open.ts` adds the others. */
type Keys = Omit<Kvs, 'watch' | 'producer' | 'history' | 'namespaces' | 'upkeep' | 'blobs'>

/** The store of this process, on one engine. `Kvs`, `History` and `Namespaces` document its
 *  calls. */
export class KeyStore implements Keys, AsyncDisposable {
  readonly reader: Reader
  readonly nodes: Nodes
  readonly spaces: OpenNamespaces
  readonly pinning: Pinning
  readonly history: History
  readonly #content: Content
  readonly #environment: Environment

  private constructor(
    content: Content,
    nodes: Nodes,
    namespaces: OpenNamespaces,
    environment: Environment,
  ) {
    this.#content = content
    this.#environment = environment
    this.nodes = nodes
    this.spaces = namespaces
    this.reader = new Reader(content, nodes)
    const { past } = namespaces
    const find = (name: string | undefined) => namespaces.find(name).live
    const pinning = new Pinning({
      past,
      find,
      write: (op) => namespaces.find('system').committer.submit(prepare({ ops: [op] })),
      now: environment.now,
    })
    const timeline = new Timeline(past, find, nodes)
    this.pinning = pinning
    this.history = {
      roots: (scope) => timeline.roots(scope),
      diff: (scope) => timeline.diff(scope),
      log: (key, scope) => timeline.log(key, scope),
      pin: (name, scope) => pinning.pin(name, scope),
      unpin: (name) => pinning.unpin(name),
      pins: () => pinning.pins(),
    }
  }

  /** Opens the namespaces of an engine, and creates `primary` and the reserved ones where they are
   *  missing. The caller closes the engine. */
  static async open(engine: Engine, content: Content, environment: Environment): Promise<KeyStore> {
    const nodes = new Nodes(content)
    const namespaces = await OpenNamespaces.open({ engine, content, nodes, environment })
    return new KeyStore(content, nodes, namespaces, environment)
  }

  /** Calls `listener` for each new root, and for each namespace that is made or ends, until it
   *  is disposed of. */
  listen(listener: StoreListener): Disposable {
    return this.spaces.listen(listener)
  }

  /** Returns a namespace, `primary` by default. Throws ENONS, EINVAL, ECLOSED. */
  namespace(name?: string): LiveNamespace {
    return this.spaces.find(name).live
  }

  /** Returns a namespace, or undefined if there is none of that name. Throws EINVAL. */
  peekNamespace(name: string): LiveNamespace | undefined {
    return this.spaces.peek(name)
  }

  /** Makes a snapshot of a namespace at one of its roots, which is held until the snapshot is
   *  disposed of. Other namespaces, reached by links, are read at their newest roots. REQUIRES: the
   *  root is the newest one or retained in this turn of the event loop. */
  snapshot(live: LiveNamespace, root: Root, rights?: Rights): Promise<HeldSnapshot> {
    const held = this.spaces.past.holdRoot(root)
    return holdSnapshot(this.spaces, live, held, admitOf(rights, 'read'))
  }

  async commit(
    transaction: Transaction,
    options: CommitOptions & Limited = {},
  ): Promise<Committed> {
    const { namespace, transfer = false, signal } = options
    const { name } = this.namespace(namespace)
    const made = asCaller(prepare(transaction, { transfer }), options)
    const prepared = onceUnder(options, transaction, made)
    // `await`, since a promise that is returned as it is takes three more turns of the microtasks.
    return await joinAbort(this.spaces.commit(name, prepared, signal), signal)
  }

  async put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options: PutOptions & Limited = {},
  ): Promise<CommittedOp> {
    const { committer } = this.spaces.find(options.namespace)
    const { guards = [], contentType, signal, rights } = options
    const extra = valueOptionsOf(options)
    const held =
      typeof value === 'string' || value instanceof Uint8Array
        ? { whole: value }
        : await holdBack(abortable(value, signal))
    if ('whole' in held) {
      const put = { op: 'put', key, value: held.whole } as const
      const transaction = { guards, ops: [extra ? { ...put, ...extra } : put] }
      const made = asCaller(prepare(transaction), options)
      const whole = onceUnder(options, transaction, made)
      return oneOp(await this.#submit(committer, whole, signal))
    }
    const upload = this.spaces.uploads.begin()
    let submitted: Promise<Committed>
    try {
      const how = { upload, signal, anew: rights !== undefined }
      const array = await storeArray(this.#content, this.nodes, held.rest, how)
      const made = prepareStoredPut(key, array, { contentType, guards, ...extra })
      const stored = asCaller(made, options)
      const asked = { guards, ops: [{ op: 'put', key, ...extra } as const] }
      submitted = committer.submit(onceUnder(options, asked, stored))
    } catch (error) {
      upload[Symbol.dispose]()
      throw error
    }
    // The transaction goes on if its caller cancels, and needs the blobs of the upload
    // until its answer.
    const committed = submitted.finally(() => upload[Symbol.dispose]())
    return oneOp(await joinAbort(committed, signal))
  }

  async append(
    key: string,
    value: Value,
    options: AppendOptions & Limited = {},
  ): Promise<CommittedOp> {
    const { committer } = this.spaces.find(options.namespace)
    const { guards = [], seal = false, transfer = false, producer } = options
    const plain: Op = { op: 'append', key, value, seal }
    const extra = valueOptionsOf(options)
    const op = extra || producer ? { ...plain, ...extra, ...(producer && { producer }) } : plain
    const transaction = { guards, ops: [op] }
    const prepared = onceUnder(
      options,
      transaction,
      asCaller(prepare(transaction, { transfer }), options),
    )
    return oneOp(await this.#submit(committer, prepared, options.signal))
  }

  async get(key: string, options: ReadScope & Limited = {}): Promise<Uint8Array | undefined> {
    const treeobj = this.#peek(key, options)?.treeobj
    // A copy, since other readers share the bytes.
    if (treeobj?.type === 'val') return Buffer.from(treeobj.data)
    using snapshot = await this.#hold(options)
    const reading = await this.reader.read(snapshot, key, {})
    if (!reading) return undefined
    const size = sizeLeft(reading.stat)
    if (size > getSizeMax) {
      throw new TailraceError('E2BIG', `${key} has ${size} bytes: read it as a stream`)
    }
    const chunks: Uint8Array[] = []
    for await (const chunk of reading.chunks) chunks.push(chunk)
    // Copies a single chunk too, since other readers share it.
    return Buffer.concat(chunks)
  }

  async read(key: string, options: ReadOptions & Limited = {}): Promise<Reading | undefined> {
    const snapshot = await this.#hold(options)
    let reading: Reading | undefined
    try {
      reading = await this.reader.read(snapshot, key, options)
    } finally {
      if (reading?.stat.type !== 'valref') snapshot[Symbol.dispose]()
    }
    if (reading?.stat.type !== 'valref') return reading
    return { ...reading, chunks: heldChunks(reading.chunks, snapshot, this.#environment.timer) }
  }

  async stat(key: string, options: StatOptions & Limited = {}): Promise<Stat | undefined> {
    const peeked = this.#peek(key, options, { follow: !options.nofollow })
    // A namespace without expiring keys and caps has nothing more to look up.
    const lacks = (kind: LifeKind, meta: Dir) => peekEntry(this.nodes, meta, kind) === undefined
    if (peeked && lacks('expiry', peeked.meta) && lacks('cap', peeked.meta)) {
      return peeked.treeobj && statOf(peeked.treeobj, peeked.seq)
    }
    using snapshot = await this.#hold(options)
    const stat = await this.reader.stat(snapshot, key, !options.nofollow)
    if (stat?.type !== 'val' && stat?.type !== 'valref') return stat
    // An empty `meta` has no expiry and no cap. Both are told at the newest root only
    // (rfc/9, rule 13).
    if (snapshot.meta.ref === undefined || options.at !== undefined) return stat
    const found = await this.reader.find(snapshot, parseKey(key), { follow: true })
    const own = found.namespace === snapshot.namespace
    const expires = own ? await readExpires(this.nodes, snapshot.meta, found.key) : undefined
    const cap = own ? await readCap(this.nodes, snapshot.meta, found.key) : undefined
    return { ...stat, ...(expires && { expires: expires.at }), ...(cap && { cap }) }
  }

  async treeobj(key: string, options: TreeobjOptions = {}): Promise<TreeobjJson | undefined> {
    using snapshot = await this.#hold(options)
    const page = await this.reader.treeobj(snapshot, key, options)
    if (page?.next !== undefined) snapshot.keep()
    return page
  }

  async list(key: string, options: ListOptions & Limited = {}): Promise<Listing> {
    using snapshot = await this.#hold(options)
    const page = await this.reader.list(snapshot, key, options)
    if (page.more) snapshot.keep()
    return page
  }

  async readMany(
    keys: readonly string[],
    options: ReadScope & Limited = {},
  ): Promise<{ seq: number; values: (Uint8Array | undefined)[] }> {
    if (keys.length > readKeysMax) {
      throw new TailraceError('E2BIG', `one read names at most ${readKeysMax} keys`)
    }
    if (options.at === undefined && options.minSeq === undefined) {
      const now = this.readNow(keys, options.namespace)
      // The caller may write to what it gets.
      if (now) return { ...now, values: now.values.map((value) => value && Buffer.from(value)) }
    }
    using snapshot = await this.#hold(options)
    return { seq: snapshot.seq, values: await this.reader.many(snapshot, keys) }
  }

  /** Reads values at the newest root like `readMany`, but without I/O and without a promise. They are
   *  shared with other readers: do not change them. Undefined where that is not possible, and for
   *  more than `keysNowMax` keys: then call `readMany`. Throws EINVAL, ENONS, ECLOSED, ECORRUPT. */
  readNow(keys: readonly string[], namespace: string | undefined): ValuesNow | undefined {
    const { root } = this.namespace(namespace)
    if (keys.length > keysNowMax) return undefined
    const values = this.reader.peekMany(root, keys)
    return values && { seq: root.seq, values }
  }

  async root(options: RootOptions = {}): Promise<RootView> {
    const { waitSeq, time: at, signal } = options
    const live = this.namespace(options.namespace)
    if (waitSeq !== undefined && at !== undefined) {
      throw new TailraceError('EINVAL', 'waitSeq and time name two roots: give one of them')
    }
    if (waitSeq !== undefined) await live.reach(waitSeq, signal)
    const { seq, ref, time } = at === undefined ? live.root : await rootAtTime(live, at, signal)
    return { namespace: live.name, seq, ref, incarnation: live.record.incarnation, time }
  }

  async namespaces(): Promise<NamespaceView[]> {
    this.spaces.checkOpen()
    const views: NamespaceView[] = []
    const slice = new LoopSlice()
    for (const { live } of this.spaces.all()) {
      if (slice.over) await slice.turn()
      using _held = this.spaces.past.holdRoot(live.root)
      views.push(await live.view())
    }
    return views.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async createNamespace(
    name: string,
    options: {
      readonly from?: { readonly namespace?: string; readonly at?: number | string }
    } = {},
  ): Promise<NamespaceView> {
    const { from } = options
    if (!from) return (await this.spaces.create(name)).view()
    const { live } = this.spaces.find(from.namespace)
    // Holds the tree until the new namespace's root names it.
    using held = await this.spaces.past.hold(live, from.at)
    return await (await this.spaces.create(name, await live.data(held.root))).view()
  }

  removeNamespace(name: string): Promise<void> {
    return this.spaces.remove(name)
  }

  /** Waits for the commit groups that are on their way, and refuses whatever waits
   *  then with ECLOSED. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.spaces[Symbol.asyncDispose]()
  }

  /** Submits a transaction. If the caller cancels (ECANCELED), the transaction may
   *  still be committed. */
  #submit(committer: Committer, prepared: Prepared, signal?: AbortSignal): Promise<Committed> {
    return joinAbort(committer.submit(prepared), signal)
  }

  /** Looks a key up in the newest root without I/O. Undefined where `peekKey` gives undefined, or
   *  where the scope asks for another root. */
  #peek(key: string, scope: ReadScope, options = { follow: true }): Peeked | undefined {
    const live = this.namespace(scope.namespace)
    if (scope.at !== undefined || scope.minSeq !== undefined) return undefined
    return peekKey(this.nodes, live.root, key, options)
  }

  /** Waits for `minSeq`, and holds the snapshot that the options ask for. The caller
   *  disposes of it. */
  async #hold(options: ReadScope & Limited): Promise<HeldSnapshot> {
    const live = this.namespace(options.namespace)
    if (options.minSeq !== undefined) await live.reach(options.minSeq, options.signal)
    const held = await this.spaces.past.hold(live, options.at)
    return holdSnapshot(this.spaces, live, held, admitOf(options.rights, 'read'))
  }
}

/** Options that belong to a value, in a put or an append. */
type ValueOptions = Expiry & Capping & { readonly contentType?: string }

/** Picks the options that belong to the value. Undefined if there are none, as in most writes. */
function valueOptionsOf(options: ValueOptions): ValueOptions | undefined {
  const { ttl, sliding, cap, contentType } = options
  const isPlain = ttl === undefined && sliding === undefined && cap === undefined
  if (isPlain && contentType === undefined) return undefined
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(sliding === undefined ? {} : { sliding }),
    ...(cap === undefined ? {} : { cap }),
  }
}

/** Adds the rights of the caller, if it does not have all of them; then its blobs are written anew. Adds its
 *  place in a trace, if it has one. */
function asCaller(prepared: Prepared, { rights, trace }: Limited & Traced): Prepared {
  const traced = trace === undefined ? prepared : { ...prepared, trace }
  return rights ? { ...traced, rights, blobs: prepared.blobs.map(writtenAnew) } : traced
}

function oneOp({ seq, ref, results, repeated }: Committed): CommittedOp {
  const result = results[0] ?? {}
  return repeated ? { seq, ref, result, repeated } : { seq, ref, result }
}

/** Sums up the bytes that a store holds. Throws EIO, ECLOSED. */
export async function usageOf(
  engine: Pick<Engine, 'stored' | 'diskSize'>,
  namespaces: readonly NamespaceView[],
): Promise<Usage> {
  const disk = await engine.diskSize()
  let [live, history] = [0, 0]
  for (const { size, historySize } of namespaces) {
    live += size
    history += historySize
  }
  return { ...(disk === undefined ? {} : { disk }), stored: engine.stored, live, history }
}
