/** Layers: namespaces of results, each with a parent whose results it reads too. See rfc/22, rules 5 to 7, and
 *  21.
 *  Invariant: a layer's parent never changes. Nothing reads downwards. Layers in equal states have all results that
 *  an earlier look found, and find the same ones: what removes or replaces results writes `removalOp` with that. */

import { randomBytes } from 'node:crypto'
import {
  type LayerBounds,
  type LayerBoundsChange,
  type LayerView,
  layersMax,
  mainLayer,
} from '../api/cache.js'
import { type Kvs, pageMax } from '../api/kvs.js'
import { layerPrefix } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import type { Op, Scope } from '../api/transaction.js'
import { count, defined, invalid, number, type Rule, shapeOf, text, within } from '../base/shape.js'
import { isCode, TailraceError, unless } from '../error.js'
import { appendOps } from '../eventlog/eventlog.js'
import { pack, unpack } from './packing.js'
import { recordsKey, resultDirectories } from './record.js'

const nameRule = /^[a-z0-9][a-z0-9_-]{0,56}$/
const layerKey = 'layer'
/** The key of a layer's bounds. */
const boundsKey = 'bounds'
/** The key of a layer's eventlog. */
const logKey = 'log'
/** The key of a text that each transaction changes in which results go or are replaced. */
export const removalsKey = 'removals'
/** The number of last bytes that a layer's eventlog keeps. */
const logSizeMax = 4 * 1024 * 1024
/** The number of random bytes of a text at `removalsKey`. */
const removalSize = 16
/** The form of the keys of layers; before it, layers had none. */
const layerForm = 2
/** The directories of the layers that had no form. */
const formerDirectories = ['r', 'u', 's']

type LayerRecord = { readonly parent?: string; readonly created: number; readonly form?: number }

const record: Rule = within(
  shapeOf<LayerRecord>({ parent: text, created: number, form: count }, ['created']),
)

const layerBounds: Rule = within(
  shapeOf<LayerBounds>({ keepAgeMs: count, keepResults: count, keepSize: count }),
)

/** Returns the namespace of a layer. Throws EINVAL. */
export function namespaceOf(layer: string): string {
  if (nameRule.test(layer)) return layerPrefix + layer
  throw invalid('a layer is 1 to 57 of a-z, 0-9, "_" and "-", and starts with a letter or digit')
}

/** Returns the layer of a namespace; undefined if it is that of none. */
export function layerOf(namespace: string): string | undefined {
  const isLayer =
    namespace.startsWith(layerPrefix) && nameRule.test(namespace.slice(layerPrefix.length))
  return isLayer ? namespace.slice(layerPrefix.length) : undefined
}

/** Returns the ops that tell of changes of one kind in a layer's eventlog. */
export function logOps(
  name: 'create' | 'publish' | 'remove' | 'evict',
  ...contexts: readonly LogContext[]
): Op[] {
  const timestamp = Date.now() / 1_000
  const events = contexts.map((context) => ({ timestamp, name, context }))
  return appendOps(logKey, events, false)
}

/** Returns the op that tells that results go or are replaced. REQUIRES: it is part of the transaction in which
 *  they do. See rfc/22, rule 21. */
export function removalOp(): Op {
  return { op: 'put', key: removalsKey, value: randomBytes(removalSize).toString('hex') }
}

/** Facts of a change, as its event tells them. */
export type LogContext = { readonly [name: string]: string | number }

/** Makes a layer. Throws EEXIST, ENONS (the parent is not there), E2BIG (too many above each
 *  other). */
export async function createLayer(kvs: Kvs, layer: string, parent?: string): Promise<void> {
  const namespace = namespaceOf(layer)
  if (parent !== undefined) {
    if (parent === mainLayer) await prepareLayer(kvs, mainLayer)
    if ((await layersFrom(kvs, parent)).length === layersMax) {
      throw new TailraceError('E2BIG', `at most ${layersMax} layers stand above each other`)
    }
  }
  // A layer is there once it has its record. What a crash left of one before is taken over.
  await kvs.namespaces.create(namespace).catch(unless('EEXIST'))
  await kvs.namespaces.configure(namespace, { historyCount: 1 })
  const above = parent !== undefined && { parent }
  const made: LayerRecord = { ...above, created: Date.now(), form: layerForm }
  const [event] = logOps('create', { ...above })
  // So that it is told apart from a layer of this name that was removed before.
  const ops: Op[] = [{ op: 'put', key: layerKey, value: pack(made, 'a layer') }, removalOp()]
  if (event?.op === 'append') ops.push({ ...event, cap: { keepBytes: logSizeMax } })
  try {
    await kvs.commit({ guards: [{ key: layerKey, absent: true }], ops }, { namespace })
  } catch (error) {
    if (!isCode(error, 'ECONFLICT')) throw error
    throw new TailraceError('EEXIST', `there is a layer ${layer} already`, { cause: error })
  }
}

/** Prepares a layer for claims: makes the main one if it is not there, and empties one of a former form,
 *  whose results can be made again. */
export async function prepareLayer(kvs: Kvs, layer: string): Promise<void> {
  const found = await readLayer(kvs, layer)
  if (found?.form === layerForm) return
  if (!found) {
    if (layer === mainLayer) await createLayer(kvs, layer).catch(unless('EEXIST'))
    return
  }
  const namespace = namespaceOf(layer)
  const value = pack({ ...found, form: layerForm }, 'a layer')
  const ops = formerDirectories.map((key): Op => ({ op: 'unlink', key, recursive: true }))
  const changes: Op[] = [...ops, { op: 'put', key: layerKey, value }, removalOp()]
  await kvs.commit({ ops: changes }, { namespace })
}

/** Returns a layer and those above it, the layer itself first. A parent that is gone ends the list.
 *  The main layer counts as there: nobody may have written to it yet. Throws ENONS. */
export async function layersFrom(kvs: Kvs, layer: string): Promise<readonly [string, ...string[]]> {
  const above: string[] = []
  let found = await readLayer(kvs, layer)
  if (!found && layer !== mainLayer) throw noLayer(layer)
  while (found?.parent !== undefined && above.length < layersMax - 1) {
    const { parent } = found
    found = await readLayer(kvs, parent)
    if (found || parent === mainLayer) above.push(parent)
  }
  return [layer, ...above]
}

/** Describes a layer. Throws ENONS. */
export async function showLayer(
  kvs: Kvs,
  layer: string,
  scope: { readonly signal?: AbortSignal },
): Promise<LayerView> {
  const [, ...parents] = await layersFrom(kvs, layer)
  const namespace = namespaceOf(layer)
  const [amounts, bounds] = await Promise.all([
    amountsOf(kvs, { namespace, ...scope }).catch(unless('ENONS')),
    readBounds(kvs, layer),
  ])
  return { layer, parents, ...(amounts ?? { results: 0, size: 0 }), bounds }
}

/** Returns the number of results of a layer, and the size of all that they consist of. Throws ENONS. */
export async function amountsOf(
  kvs: Kvs,
  scope: Scope,
): Promise<{ readonly results: number; readonly size: number }> {
  const stats = await Promise.all(resultDirectories.map((key) => kvs.stat(key, scope)))
  const size = stats.reduce((all, stat) => all + (stat?.size ?? 0), 0)
  return { results: stats[0]?.count ?? 0, size }
}

/** Returns the bounds of a layer. */
export async function readBounds(kvs: Kvs, layer: string): Promise<LayerBounds> {
  const namespace = namespaceOf(layer)
  return boundsOf(await kvs.get(boundsKey, { namespace }).catch(unless('ENONS')))
}

/** Changes the bounds of a layer, and returns all of them. Throws ENONS. */
export async function configureLayer(
  store: Store,
  layer: string,
  change: LayerBoundsChange,
): Promise<LayerBounds> {
  if (layer === mainLayer) await prepareLayer(store, layer)
  await layersFrom(store, layer) // throws where there is none
  let bounds: LayerBounds = {}
  await store.update(
    boundsKey,
    (value) => {
      const changed = Object.entries({ ...boundsOf(value), ...defined(change) })
      bounds = Object.fromEntries(changed.filter(([, bound]) => bound !== null))
      return pack(bounds, 'bounds')
    },
    { namespace: namespaceOf(layer) },
  )
  return bounds
}

function boundsOf(bytes: Uint8Array | undefined): LayerBounds {
  if (!bytes) return {}
  const found = unpack(bytes, 'the bounds of a layer')
  if (!layerBounds.is(found)) throw invalid('the bounds of a layer are none')
  return found as LayerBounds
}

/** Yields the ids of a layer's own results, in order, a page at a time. */
export async function* resultIds(
  kvs: Kvs,
  layer: string,
  {
    after,
    limit = pageMax,
    signal,
  }: { readonly after?: string; readonly limit?: number; readonly signal?: AbortSignal },
): AsyncGenerator<readonly string[], undefined, undefined> {
  const scope = { namespace: namespaceOf(layer), limit, ...(signal && { signal }) }
  for (let last = after; ; ) {
    const from = last === undefined ? {} : { after: last }
    // There is no such directory before the first result, and no main layer before that.
    const page = await kvs
      .list(recordsKey, { ...scope, ...from })
      .catch(unless('ENOENT'))
      .catch(unless('ENONS'))
    if (!page) return undefined
    yield page.entries.map(({ name }) => name)
    if (!page.more) return undefined
    last = page.entries.at(-1)?.name
  }
}

/** The state of one layer. */
export type LayerState = {
  readonly layer: string
  /** The text that the last removal has written; empty before the first one. */
  readonly removals: string
  /** The number of results. */
  readonly results: number
  /** The ref of all results, of a layer that hides those of a parent; else empty. */
  readonly ref: string
}

export const layerState: Rule = within(
  shapeOf<LayerState>({ layer: text, removals: text, results: count, ref: text }, [
    ...(['layer', 'removals', 'results', 'ref'] as const),
  ]),
)

/** Returns the states of a layer and of those above it, the layer itself first. Throws ENONS. */
export async function layerStates(kvs: Kvs, layer: string): Promise<readonly LayerState[]> {
  const layers = await layersFrom(kvs, layer)
  return Promise.all(layers.map((each, at) => stateOf(kvs, each, at === layers.length - 1)))
}

/** Prepares a layer as its first claim does, which makes the main layer, and returns the states. Throws
 *  ENONS. */
export async function preparedLayerStates(kvs: Kvs, layer: string): Promise<readonly LayerState[]> {
  await prepareLayer(kvs, layer)
  return layerStates(kvs, layer)
}

async function stateOf(kvs: Kvs, layer: string, isLast: boolean): Promise<LayerState> {
  const scope = { namespace: namespaceOf(layer) }
  const [removals, stat] = await Promise.all([
    kvs.get(removalsKey, scope).catch(unless('ENONS')),
    kvs.stat(recordsKey, scope).catch(unless('ENONS')),
  ])
  return {
    layer,
    removals: removals ? Buffer.from(removals).toString() : '',
    results: stat?.count ?? 0,
    ref: isLast ? '' : (stat?.ref ?? ''),
  }
}

/** True if all results that a look found in the states `before` are still what it finds. A layer without a
 *  parent may have got more: nothing was hidden by them. */
export function areKeptIn(now: readonly LayerState[], before: readonly LayerState[]): boolean {
  return (
    now.length === before.length &&
    now.every((state, at) => {
      const then = before[at]
      return (
        then !== undefined &&
        state.layer === then.layer &&
        state.removals === then.removals &&
        state.ref === then.ref &&
        state.results >= then.results
      )
    })
  )
}

async function readLayer(kvs: Kvs, layer: string): Promise<LayerRecord | undefined> {
  const namespace = namespaceOf(layer)
  const bytes = await kvs.get(layerKey, { namespace }).catch(unless('ENONS'))
  if (!bytes) return undefined
  const what = `the key "${layerKey}" of the namespace ${namespace}`
  const found = unpack(bytes, what)
  if (!record.is(found)) throw invalid(`${what} is no record of a layer`)
  return found as LayerRecord
}

function noLayer(layer: string): TailraceError {
  const message = `there is no layer ${layer}: make it with tailrace cache create ${layer}`
  return new TailraceError('ENONS', message)
}
