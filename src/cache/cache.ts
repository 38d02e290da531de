/** The result cache of a store, embedded or over a server: an action is computed once, by any number
 *  of processes and machines. See rfc/22. */

import {
  type Cache,
  type CachedOptions,
  type CacheOptions,
  type Claim,
  type ClaimOptions,
  type Layers,
  type LockOptions,
  type LookOptions,
  mainLayer,
} from '../api/cache.js'
import type { Store } from '../api/store.js'
import { joinAbort } from '../base/abort.js'
import {
  callback,
  checkOptions,
  checkValue,
  count,
  oneOf,
  shapeOf,
  signal,
  text,
  waitMs,
} from '../base/shape.js'
import { packAction } from './action.js'
import { cached } from './cached.js'
import { type ClaimPorts, claim } from './claim.js'
import { find } from './hit.js'
import { createLayer, layersFrom, namespaceOf } from './layer.js'
import { remove } from './remove.js'

const caches = shapeOf<CacheOptions>({ layer: text, owner: text, code: text })
const claiming = { tries: count, timeoutMs: waitMs, ttl: count, signal }
const claims = shapeOf<ClaimOptions>({ ...claiming, wait: oneOf('wait', 'skip', 'fail') })
const callers = shapeOf<CachedOptions>({ ...claiming, wait: oneOf('wait', 'fail') })
const looks = shapeOf<LookOptions>({ signal })
const locks = shapeOf<LockOptions>({ namespace: text, ttl: count, owner: text, signal })
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
  let opened: Promise<ClaimPorts> | undefined
  let hasWarned = false

  /** Returns the ports of the layer, whose parents are looked up once. */
  const ports = async (): Promise<ClaimPorts> => {
    opened ??= layersFrom(store, layer).then(
      (layers) => ({ kvs: store, leases: store.leases, layers, owner, code }),
      (error: unknown) => {
        opened = undefined
        throw error
      },
    )
    return opened
  }

  /** Warns once that who has read a result may keep it. */
  const warn = (
    id: string,
    { by, started }: { by: { host: string; pid: number }; started: number },
  ) => {
    if (hasWarned) return
    hasWarned = true
    const made = `${new Date(started).toISOString()} by process ${by.pid} of ${by.host}`
    process.emitWarning(
      `The action ${id.slice(0, 12)} runs again. Whoever has read its result of ${made} keeps that, and so do results that were made of it.`,
      { type: 'TailraceWarning', code: 'RERUN' },
    )
  }

  return {
    layer,
    layers: layersOf(store),
    cached: async (action, fn, given = {}) => {
      const packed = packAction(action)
      checkValue('fn', fn, callback)
      checkOptions(given, callers)
      return cached(await ports(), packed, fn, given)
    },
    claim: (async (action: unknown, given: ClaimOptions = {}) => {
      const packed = packAction(action)
      checkOptions(given, claims)
      return claim(await ports(), packed, given)
    }) as Cache['claim'],
    load: async (action, given = {}) => {
      const packed = packAction(action)
      checkOptions(given, looks)
      const { kvs, layers } = await ports()
      return find(kvs, layers, packed.id, given)
    },
    rerun: async (action, given = {}) => {
      const packed = packAction(action)
      checkOptions(given, callers)
      const { kvs, layers, ...rest } = await ports()
      const { signal: ending } = given
      const claimed = await claim({ kvs, layers, ...rest }, packed, { ...given, again: true })
      const before = await find(kvs, layers, packed.id, ending ? { signal: ending } : {})
      if (before) warn(packed.id, before.result)
      return claimed as Claim
    },
    remove: async (action, given = {}) => {
      const packed = packAction(action)
      checkOptions(given, looks)
      return remove(await ports(), packed, given)
    },
    withLock: async (key, fn, given = {}) => {
      checkValue('fn', fn, callback)
      checkOptions(given, locks)
      await using lease = await store.leases.take(key, { ...given, wait: true })
      return await joinAbort((async () => fn(lease))(), lease.signal)
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
  }
}
