/** Layers: namespaces of results, each with a parent whose results it reads too. See rfc/22, rules 5
 *  to 7.
 *  Invariant: a layer's parent never changes. Nothing reads downwards. */

import { layersMax, mainLayer } from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import type { Op } from '../api/transaction.js'
import { invalid, number, type Rule, shapeOf, text, within } from '../base/shape.js'
import { isCode, TailraceError } from '../error.js'
import { appendOps } from '../eventlog/eventlog.js'
import { pack, unpack } from './packing.js'

const prefix = 'cache-'
const nameRule = /^[a-z0-9][a-z0-9_-]{0,56}$/
const layerKey = 'layer'
/** The key of a layer's eventlog. */
const logKey = 'log'
/** The number of last bytes that a layer's eventlog keeps. */
const logSizeMax = 4 * 1024 * 1024

type LayerRecord = { readonly parent?: string; readonly created: number }

const record: Rule = within(shapeOf<LayerRecord>({ parent: text, created: number }, ['created']))

/** Returns the namespace of a layer. Throws EINVAL. */
export function namespaceOf(layer: string): string {
  if (nameRule.test(layer)) return prefix + layer
  throw invalid('a layer is 1 to 57 of a-z, 0-9, "_" and "-", and starts with a letter or digit')
}

/** Returns the ops that tell of a change in a layer's eventlog. */
export function logOps(name: 'create' | 'publish' | 'remove', context: LogContext): Op[] {
  return appendOps(logKey, [{ timestamp: Date.now() / 1_000, name, context }], false)
}

type LogContext = { readonly [name: string]: string | number }

/** Makes a layer. Throws EEXIST, ENONS (the parent is not there), E2BIG (too many above each
 *  other). */
export async function createLayer(kvs: Kvs, layer: string, parent?: string): Promise<void> {
  const namespace = namespaceOf(layer)
  if (parent !== undefined && (await layersFrom(kvs, parent)).length === layersMax) {
    throw new TailraceError('E2BIG', `at most ${layersMax} layers stand above each other`)
  }
  // A layer is there once it has its record. What a crash left of one before is taken over.
  await kvs.namespaces.create(namespace).catch(unless('EEXIST'))
  await kvs.namespaces.configure(namespace, { historyCount: 1 })
  const made: LayerRecord = { ...(parent !== undefined && { parent }), created: Date.now() }
  const [event] = logOps('create', { ...(parent !== undefined && { parent }) })
  const ops: Op[] = [{ op: 'put', key: layerKey, value: pack(made, 'a layer') }]
  if (event?.op === 'append') ops.push({ ...event, cap: { keepBytes: logSizeMax } })
  try {
    await kvs.commit({ guards: [{ key: layerKey, absent: true }], ops }, { namespace })
  } catch (error) {
    if (!isCode(error, 'ECONFLICT')) throw error
    throw new TailraceError('EEXIST', `there is a layer ${layer} already`, { cause: error })
  }
}

/** Returns a layer and those above it, the layer itself first. Makes the main layer if it is not
 *  there. A parent that is gone ends the list. Throws ENONS (the layer is not there). */
export async function layersFrom(kvs: Kvs, layer: string): Promise<readonly [string, ...string[]]> {
  if (layer === mainLayer && !(await readLayer(kvs, layer))) {
    await createLayer(kvs, layer).catch(unless('EEXIST'))
  }
  const layers: string[] = []
  let next: string | undefined = layer
  while (next !== undefined && layers.length < layersMax) {
    const found: LayerRecord | undefined = await readLayer(kvs, next)
    if (!found) break
    layers.push(next)
    next = found.parent
  }
  const [first, ...above] = layers
  if (first !== undefined) return [first, ...above]
  throw new TailraceError('ENONS', `there is no layer ${layer}: tailrace cache create ${layer}`)
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

/** Returns a handler of rejections that passes one code, as undefined. */
function unless(code: 'EEXIST' | 'ENONS'): (error: unknown) => undefined {
  return (error) => {
    if (!isCode(error, code)) throw error
    return undefined
  }
}
