/** The embedded store, in this process. This is the only file that names an engine. See rfc/4,
 *  rfc/6.
 *  Invariant: the store owns everything that `open` opened, and closes it in the reverse order. */

import type { CheckReport } from './api/check.js'
import { jobsNamespace } from './api/namespace.js'
import type { Store } from './api/store.js'
import { type Environment, systemEnvironment } from './base/environment.js'
import {
  callback,
  checkOptions,
  count,
  flag,
  number,
  type Rule,
  shapeOf,
  signal,
  within,
} from './base/shape.js'
import { Collector, type GarbageBounds } from './collect/collect.js'
import { discard } from './collect/discard.js'
import { forget } from './collect/forget.js'
import { Content } from './content/content.js'
import type { openDirectory } from './engine/directory.js'
import type { Engine } from './engine/engine.js'
import { MemoryEngine } from './engine/memory.js'
import { isCode, TailraceError } from './error.js'
import { exportTree } from './export/export.js'
import { importStream } from './export/import.js'
import type { CheckOptions } from './fsck/fsck.js'
import { checkEngine, unopened } from './fsck/run.js'
import type { JobKvs } from './job/keys.js'
import { JobRunner } from './job/runner.js'
import { configure } from './kvs/configure.js'
import { Places } from './kvs/places.js'
import { KeyStore, usageOf } from './kvs/store.js'
import { loadBlob, storeBlob } from './kvs/uploads.js'
import type { Grants } from './rights/grants.js'
import { limitedStore } from './rights/limited-store.js'
import type { LimitedStore, ServerParts, StoreFigures } from './rights/served-store.js'
import { TokenBook } from './rights/tokens.js'
import { openProducer } from './store/producer.js'
import { storeOf } from './store/store.js'
import { WatchService } from './watch/watch.js'

/** Options of `open`. */
export type OpenOptions = {
  /** The data directory, which is made (0700) if it is not there. Without it the store is in
   *  memory, and ends with the process. */
  readonly directory?: string
  /** The size of the cache of blobs and nodes, in bytes. Default 16 MiB (`cacheSizeDefault`). */
  readonly cacheSize?: number
  /** The number of jobs that run at once. Default `runningMaxDefault`. */
  readonly runningMax?: number
  /** Called while a store of an older format is brought up to this one, with the bytes of blobs so
   *  far, and those that there are. The first call has 0. */
  readonly onMigration?: (done: number, total: number) => void
  /** The amount of garbage at which a collection begins by itself. */
  readonly garbage?: GarbageBounds
  /** The clock, timers and ids. Tests replace them. */
  readonly environment?: Environment
}

const path: Rule = {
  is: (value) => typeof value === 'string' && value !== '',
  expected: 'the path of a directory',
}
const environment = within(
  shapeOf<Environment>({ now: callback, monotonic: callback, timer: callback, id: callback }, [
    'now',
    'monotonic',
    'timer',
    'id',
  ]),
)
const opens = shapeOf<OpenOptions>({
  directory: path,
  cacheSize: count,
  runningMax: count,
  onMigration: callback,
  garbage: within(shapeOf<GarbageBounds>({ share: number, sizeMin: count }, ['share', 'sizeMin'])),
  environment,
})

/** A store in this process, with facts that only its owner knows. */
export type EmbeddedStore = Store &
  ServerParts & {
    /** The runner of the store's jobs. */
    readonly jobs: JobRunner
    /** The store without checks of arguments. It may write to the namespace `jobs`. */
    readonly kvs: JobKvs
    /** The access tokens, with what a server asks of them. */
    readonly tokenBook: TokenBook
    /** Returns the store as the holder of some grants sees it (rfc/28). Closing it is EPERM. */
    readonly limitedTo: (grants: Grants) => LimitedStore
    /** Takes no more jobs; see `JobRunner.drain`. */
    readonly drainJobs: (signal: AbortSignal) => Promise<void>
    /** Counts of the store, for its owner. */
    readonly figures: StoreFigures
    /** The number of blobs and nodes that were read from the engine so far. Reads from the cache do
     *  not count. */
    readonly loads: number
    /** The number of watchers. */
    readonly watchers: number
  }

/** Opens a store in this process, and ends jobs that a crash left without a finish. Throws EINVAL,
 *  EBUSY (the store is open; the message names the process), ECORRUPT (damaged, or its file was
 *  lost), EMISCONFIGURED (a newer format, another store's directory, no native build of a library),
 *  EPERM (the directory is not the user's own), EIO, ENOSPC.
 *
 *      await using store = await open({ directory: '/var/lib/app' })
 *      await store.put('config', 'on')
 */
export async function open(options: OpenOptions = {}): Promise<EmbeddedStore> {
  checkOptions(options, opens)
  const { directory, onMigration, environment = systemEnvironment } = options
  const engine =
    directory === undefined
      ? new MemoryEngine(environment)
      : await (await diskEngine()).openDirectory(directory, {
          environment,
          ...(onMigration && { onMigration }),
        })
  try {
    return await openOn(engine, options)
  } catch (error) {
    await engine[Symbol.asyncDispose]()
    throw error
  }
}

/** Opens a store over an engine of the caller, which is closed with the store. Throws what `open`
 *  throws. */
export async function openOn(engine: Engine, options: OpenOptions = {}): Promise<EmbeddedStore> {
  const { cacheSize, runningMax, environment = systemEnvironment } = options
  const content = new Content(engine, cacheSize === undefined ? {} : { cacheSize })
  const store = await KeyStore.open(engine, content, environment)
  const watches = new WatchService(store, content, environment)
  const upkeep = { engine, content, nodes: store.nodes, spaces: store.spaces }
  const collector = await Collector.open({
    ...upkeep,
    environment,
    ...(options.garbage && { garbage: options.garbage }),
  })
  const kvs: JobKvs = {
    commit: (transaction, scope) => store.commit(transaction, scope),
    put: (key, value, scope) => store.put(key, value, scope),
    append: (key, value, scope) => store.append(key, value, scope),
    producer: (key, asked = {}) =>
      openProducer(
        (transaction, scope) => store.commit(transaction, scope),
        key,
        asked,
        environment.id,
      ),
    get: (key, scope) => store.get(key, scope),
    read: (key, scope) => store.read(key, scope),
    stat: (key, scope) => store.stat(key, scope),
    treeobj: (key, scope) => store.treeobj(key, scope),
    list: (key, scope) => store.list(key, scope),
    readMany: (keys, scope) => store.readMany(keys, scope),
    root: (scope) => store.root(scope),
    blobs: {
      load: (ref, scope) => loadBlob(content, ref, scope),
      store: (bytes, scope) => storeBlob({ content, uploads: store.spaces.uploads }, bytes, scope),
    },
    namespaces: {
      list: () => store.namespaces(),
      create: (name, from) => store.createNamespace(name, from),
      remove: (name) => store.removeNamespace(name),
      configure: async (name, change) => {
        const settings = await configure(store.spaces.find(name), change)
        if (name === jobsNamespace) jobs.configured()
        return settings
      },
    },
    upkeep: {
      usage: async () => usageOf(engine, await store.namespaces()),
      collect: (scope) => collector.collect(scope),
      forget: (key, scope) => forget({ ...upkeep, pinning: store.pinning }, key, scope),
      export: (scope) => exportTree(upkeep, scope),
      import: (chunks, scope) => importStream(upkeep, chunks, scope),
    },
    history: store.history,
    settings: () => store.namespace(jobsNamespace).settings(),
    discard: (keys, how) =>
      discard({ ...upkeep, pinning: store.pinning }, jobsNamespace, keys, how),
    watch: (key, watch) => watches.watch(key, watch),
  }
  const jobs = await JobRunner.open({
    kvs,
    environment,
    ...(runningMax === undefined ? {} : { runningMax }),
  })
  let closing: Promise<void> | undefined
  const close = async () => {
    await jobs[Symbol.asyncDispose]()
    await collector[Symbol.asyncDispose]()
    watches.close()
    await store[Symbol.asyncDispose]()
    await engine[Symbol.asyncDispose]()
  }
  const tokenBook = new TokenBook({ kvs, now: environment.now })
  const figures = figuresOf({ engine, content, store, collector, jobs })
  const embedded: EmbeddedStore = {
    ...storeOf({
      kvs,
      jobs,
      tokens: tokenBook,
      close: () => {
        closing ??= close()
        return closing
      },
    }),
    kvs,
    jobs,
    tokenBook,
    figures,
    drainJobs: (signal) => jobs.drain(signal),
    limitedTo: (grants) => {
      const limits = { store, watches, kvs, jobs, tokens: tokenBook, owner: embedded }
      return limitedStore({ ...limits, newId: environment.id }, grants)
    },
    storeId: engine.storeId,
    places: new Places(store),
    readNow: (keys, namespace) => store.readNow(keys, namespace),
    watchReader: (key, asked) => watches.read(key, asked),
    release: (piece) => content.giveBack(piece),
    get loads() {
      return content.loads
    },
    get watchers() {
      return watches.count
    },
    get collecting() {
      return collector.running
    },
    get leasesHeld() {
      return store.spaces.leases
    },
  }
  return embedded
}

type FiguresPorts = {
  readonly engine: Engine
  readonly content: Content
  readonly store: KeyStore
  readonly collector: Collector
  readonly jobs: JobRunner
}

function figuresOf({ engine, content, store, collector, jobs }: FiguresPorts): StoreFigures {
  const { spaces } = store
  return {
    onCommitted: (committed) => store.listen({ committed }),
    get waiting() {
      let [count, size] = [0, 0]
      for (const { committer } of spaces.all()) {
        count += committer.waiting.count
        size += committer.waiting.size
      }
      return { count, size }
    },
    get namespaces() {
      return spaces.all().length
    },
    get leases() {
      return spaces.leases
    },
    get loads() {
      return { count: content.loads, size: content.loadedSize }
    },
    get cached() {
      return content.cached
    },
    get stored() {
      return engine.stored
    },
    get collecting() {
      return collector.running
    },
    get freed() {
      return collector.freed
    },
    jobs,
    get broken() {
      return engine.broken
    },
  }
}

/** Loads the engine for directories. Its library has a native part for each platform, which a store
 *  in memory does not need. Throws EMISCONFIGURED if there is none for this platform. */
async function diskEngine(): Promise<{ readonly openDirectory: typeof openDirectory }> {
  try {
    return await import('./engine/directory.js')
  } catch (cause) {
    const name = `@lmdb/lmdb-${process.platform}-${process.arch}`
    const message = `lmdb has no native build here: install ${name}, or install with optional dependencies`
    throw new TailraceError('EMISCONFIGURED', message, { cause })
  }
}

/** Options of `checkStore`. */
export type CheckStoreOptions = CheckOptions & {
  /** The data directory. */
  readonly directory: string
  /** Moves damaged values to `lost+found`; see rfc/15, rule 15. */
  readonly repair?: boolean
  /** Called while a store of an older format is brought up to this one; see `OpenOptions`. */
  readonly onMigration?: (done: number, total: number) => void
  /** The clock, timers and ids. Tests replace them. */
  readonly environment?: Environment
}

const checks = shapeOf<CheckStoreOptions>(
  {
    directory: path,
    repair: flag,
    onMigration: callback,
    environment,
    onFinding: callback,
    onProgress: callback,
    signal,
    findingsMax: count,
  },
  ['directory'],
)

/** Checks a store that no process has open, and repairs it with `repair`. Throws EINVAL, ENOENT (no
 *  store), EBUSY (a process has it open; the message names its pid), EMISCONFIGURED (a newer
 *  format), EPERM (the directory is not the user's own), ENOSPC, EIO, ECANCELED, and ECORRUPT (the
 *  repair is not possible). */
export async function checkStore(options: CheckStoreOptions): Promise<CheckReport> {
  checkOptions(options, checks)
  const { directory, repair = false, onMigration, environment = systemEnvironment } = options
  const { openDirectory } = await diskEngine()
  let engine: Engine
  try {
    engine = await openDirectory(directory, {
      ...{ environment, existing: true, incomplete: true },
      ...(onMigration && { onMigration }),
    })
  } catch (error) {
    if (!isCode(error, 'ECORRUPT')) throw error
    return unopened(error, options)
  }
  await using _closed = engine
  return await checkEngine(engine, { ...options, repair, environment })
}
