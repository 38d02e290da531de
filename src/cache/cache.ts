/** The result cache of a store, embedded or over a server: an action is computed once, by any number
 *  of processes and machines. See rfc/22. */

import {
  type Cache,
  type CachedOptions,
  type CacheOptions,
  type Claim,
  type ClaimOptions,
  type LayerBoundsChange,
  type Layers,
  type ListResultsOptions,
  type LockOptions,
  type LookOptions,
  mainLayer,
  type RerunOptions,
  type Results,
} from '../api/cache.js'
import type { Store } from '../api/store.js'
import { joinAbort } from '../base/abort.js'
import {
  callback,
  check,
  checkOptions,
  checkValue,
  count,
  either,
  flag,
  oneOf,
  type Rule,
  shapeOf,
  signal,
  text,
  waitMs,
} from '../base/shape.js'
import type { PackedAction } from './action.js'
import { cached } from './cached.js'
import { type ClaimPorts, claim } from './claim.js'
import { differencesOf } from './compare.js'
import { evict } from './eviction.js'
import { Flights } from './flights.js'
import {
  configureLayer,
  createLayer,
  layersFrom,
  namespaceOf,
  prepareLayer,
  readBounds,
  showLayer,
} from './layer.js'
import { ResultLooks } from './looks.js'
import { pack, packedActionOf, unpack } from './packing.js'
import { remove } from './remove.js'
import { listResults, loadResult } from './results.js'
import { ClaimTakes, Publishes } from './together.js'
import { UsageNotes } from './usage.js'

export { differencesOf } from './compare.js'
export { storedBytes } from './record.js'

const caches = shapeOf<CacheOptions>({ layer: text, owner: text, code: text })
const claiming = { tries: count, timeoutMs: waitMs, ttl: count, signal }
const claims = shapeOf<ClaimOptions>({
  ...claiming,
  wait: oneOf('wait', 'skip', 'fail'),
  look: flag,
})
const callers = shapeOf<CachedOptions>({ ...claiming, wait: oneOf('wait', 'fail') })
const reruns = shapeOf<RerunOptions>({ ...claiming, wait: oneOf('wait', 'fail'), warn: flag })
const looking = shapeOf<LookOptions>({ signal })
const wholeId: Rule = {
  is: (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value),
  expected: '64 hex digits',
}
const locks = shapeOf<LockOptions>({ namespace: text, ttl: count, owner: text, signal })
const lists = shapeOf<ListResultsOptions>({ after: text, limit: count, signal })
const bound = either(count, { is: (value) => value === null, expected: 'null' })
const changes = shapeOf<LayerBoundsChange>({
  keepAgeMs: bound,
  keepResults: bound,
  keepSize: bound,
})
/** The number of publishes of a process between two evictions. */
const publishesPerEviction = 100
const layered = shapeOf<{ parent?: string }>({ parent: text })

/** Opens the cache of a layer of a store. Does no I/O: a layer that is not there is ENONS at the first
 *  call. Throws EINVAL.
 *
 *      await using store = await connect()
 *      const { cached } = openCache(store, { layer: 'main' })
 *      const report = await cached({ task: 'report', month: '2026-11' }, () => makeReport())
 */
export function openCache(store: Store, options: CacheOptions = {}): Cache {
  checkOptions(options, caches)
  const { layer = mainLayer, owner, code } = options
  namespaceOf(layer)
  const prepared = single(() => prepareLayer(store, layer))
  /** The layer and its parents, which are looked up once. */
  const opened = single(async (): Promise<ClaimPorts> => {
    const [layers, bounds] = await Promise.all([layersFrom(store, layer), readBounds(store, layer)])
    const upkeep = Object.keys(bounds).length > 0 ? upkeepOf(store, layer) : noUpkeep
    const { leases } = store
    return {
      ...{ kvs: store, looks: new ResultLooks(store), flights: new Flights() },
      takes: new ClaimTakes(leases, namespaceOf(layer), owner),
      publishes: new Publishes(leases),
      ...{ layers, owner, code, ...upkeep },
    }
  })
  /** Returns the layer for a claim. */
  const openedToWrite = async () => {
    await prepared()
    return opened()
  }
  /** The hash is loaded with the first action, since clients are also opened without a cache. */
  const hashing = single(() => import('./action.js'))
  /** Packs an action as it is at the call. */
  const packedOf = async (action: unknown): Promise<PackedAction> => {
    const bytes = packedActionOf(action)
    const { actionOf } = await hashing()
    return actionOf(bytes)
  }
  let hasWarned = false

  /** Warns once that who has read a result may keep it. */
  const warn = (
    id: string,
    { by, started }: { by: { host: string; pid: number }; started: number },
  ) => {
    if (hasWarned) return
    hasWarned = true
    const old = `${new Date(started).toISOString()} by process ${by.pid} of ${by.host}`
    process.emitWarning(
      `The action ${id.slice(0, 12)} runs again. Whoever has read its result of ${old} keeps that, and so do results that were made of it.`,
      { type: 'TailraceWarning', code: 'RERUN' },
    )
  }

  return {
    layer,
    layers: layersOf(store),
    results: resultsOf(opened),
    cached: async (action, fn, given = {}) => {
      const packed = await packedOf(action)
      checkValue('fn', fn, callback)
      checkOptions(given, callers)
      return cached(await openedToWrite(), packed, fn, given)
    },
    claim: (async (action: unknown, given: ClaimOptions = {}) => {
      const packed = await packedOf(action)
      checkOptions(given, claims)
      return claim(await openedToWrite(), packed, given)
    }) as Cache['claim'],
    load: async (action, given = {}) => {
      const packed = await packedOf(action)
      checkOptions(given, looking)
      const { looks, layers, onUse } = await opened()
      const { hit } = await looks.find(layers, packed.id, given)
      if (hit) onUse(hit)
      return hit
    },
    rerun: async (action, given = {}) => {
      const packed = await packedOf(action)
      checkOptions(given, reruns)
      const { warn: warns = true, ...way } = given
      const ports = await openedToWrite()
      const { looks, layers } = ports
      const look = given.signal ? { signal: given.signal } : {}
      // Before the claim, which would be nobody's if the look failed.
      const before = await looks.find(layers, packed.id, look)
      const claimed = await claim(ports, packed, { ...way, again: true })
      if (before.hit && warns) warn(packed.id, before.hit.result)
      return claimed as Claim
    },
    remove: async (action, given = {}) => {
      const packed = await packedOf(action)
      checkOptions(given, looking)
      return remove(await opened(), packed, given)
    },
    why: (before, after) => {
      const [left, right] = [plainOf(before), plainOf(after)]
      return differencesOf(left, right)
    },
    withLock: async (key, fn, given = {}) => {
      checkValue('fn', fn, callback)
      checkOptions(given, locks)
      await using lease = await store.leases.take(key, { ...given, wait: true })
      return await joinAbort((async () => fn(lease))(), lease.signal)
    },
  }
}

/** Returns an action as a packed one comes back. */
function plainOf(action: unknown): unknown {
  return unpack(pack(action, 'action'), 'the action')
}

/** Calls `run` once for all who ask; again if it failed. */
function single<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  return () => {
    running ??= run().catch((error: unknown) => {
      running = undefined
      throw error
    })
    return running
  }
}

/** The upkeep of a layer without bounds. */
const noUpkeep = { onUse: () => {}, onPublish: () => {} }

/** Notes the uses of a layer's results, and evicts after the first publish and each
 *  `publishesPerEviction` more. */
function upkeepOf(store: Store, layer: string): Pick<ClaimPorts, 'onUse' | 'onPublish'> {
  const notes = new UsageNotes(store, layer)
  let published = 0
  return {
    onUse: ({ result }) => {
      if (result.layer === layer) notes.note(result.id)
    },
    onPublish: () => {
      // An eviction that fails is done by a later one.
      if (published++ % publishesPerEviction === 0) {
        void evict(store, store.leases, layer).catch(() => {})
      }
    },
  }
}

function resultsOf(opened: () => Promise<ClaimPorts>): Results {
  return {
    list: async (given = {}) => {
      checkOptions(given, lists)
      const { kvs, layers } = await opened()
      return listResults(kvs, layers[0], given)
    },
    load: async (id, given = {}) => {
      checkValue('an id', id, text)
      checkOptions(given, looking)
      return loadResult(await opened(), id, given)
    },
    remove: async (id, given = {}) => {
      checkValue('an id', id, wholeId)
      checkOptions(given, looking)
      return remove(await opened(), { id }, given)
    },
  }
}

function layersOf(store: Store): Layers {
  return {
    create: async (layer, given = {}) => {
      checkValue('a layer', layer, text)
      checkOptions(given, layered)
      return createLayer(store, layer, given.parent)
    },
    remove: async (layer) => {
      checkValue('a layer', layer, text)
      return store.namespaces.remove(namespaceOf(layer))
    },
    configure: async (layer, change) => {
      checkValue('a layer', layer, text)
      check('bounds', change, changes)
      return configureLayer(store, layer, change)
    },
    show: async (layer, given = {}) => {
      checkValue('a layer', layer, text)
      checkOptions(given, looking)
      return showLayer(store, layer, given)
    },
  }
}
