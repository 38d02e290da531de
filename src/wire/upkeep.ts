/** Requests for the upkeep of a store: usage, collection, forget, export and import. See rfc/12,
 *  rfc/14, rfc/15. */

import type {
  Collected,
  CollectProgress,
  Forgotten,
  Imported,
  Skipped,
  Usage,
} from '../api/upkeep.js'
import { type Code, parseCode } from '../error.js'
import { request } from './request.js'
import {
  answered,
  arrayOf,
  asked,
  at,
  blobref,
  chosenOf,
  converted,
  count,
  flag,
  named,
  number,
  oneOf,
  optional,
  text,
} from './schema.js'
import { errorEnvelope } from './status.js'
import { totals } from './transaction.js'

/** The usage of a store, in bytes. */
export const usageShape = named(
  'Usage',
  answered<Usage>({ disk: optional(count), stored: count, live: count, history: count }),
)
const collected = named(
  'Collected',
  answered<Collected>({
    dryRun: flag,
    live: totals,
    freed: totals,
    longestStepMs: number,
    steps: count,
    overwritten: optional(count),
  }),
)
const progress = answered<CollectProgress>({
  phase: oneOf('mark', 'sweep', 'overwrite'),
  done: count,
  total: optional(count),
})

/** A line of a collection's answer: its progress, its result, or the error that ended it. */
type CollectLine =
  | { readonly progress: CollectProgress }
  | { readonly collected: Collected }
  | { readonly error: object }
const collectLines = {
  progress: answered<{ readonly progress: CollectProgress }>({ progress }),
  collected: answered<{ readonly collected: Collected }>({ collected }),
  error: errorEnvelope,
}
/** A line of a collection's answer, one JSON object. */
export const collectLine = named(
  'CollectLine',
  chosenOf<CollectLine>(Object.values(collectLines), (fields) => {
    if (fields['error'] !== undefined) return collectLines.error
    return fields['collected'] === undefined ? collectLines.progress : collectLines.collected
  }),
)

const skipped = answered<Skipped>({
  key: text,
  // A newer server may send a code that this client does not know.
  code: converted<Code>((code) => parseCode(code) ?? 'EIO', { type: 'string' }),
  message: text,
})
const imported = named(
  'Imported',
  answered<Imported>({
    namespace: text,
    seq: count,
    ref: blobref,
    keys: count,
    size: count,
    stored: totals,
    read: totals,
    skipped: optional(arrayOf(skipped)),
  }),
)

export const usage = request({
  name: 'upkeep.usage',
  method: 'GET',
  path: '/v1/usage',
  summary: 'Show how many bytes the store holds: on disk, stored, live, history',
  right: 'read',
  ownerOnly: true,
  answer: usageShape,
  errors: [],
})

export const collect = request({
  name: 'upkeep.collect',
  method: 'POST',
  path: '/v1/gc',
  summary: 'Free what no root, pin or reader needs',
  right: 'owner',
  body: asked<{ readonly dryRun?: boolean }>({ dryRun: optional(flag) }),
  answer: collected,
  download: ['lines'],
  errors: ['EBUSY', 'ECORRUPT'],
  waits: true,
})

export const forget = request({
  name: 'upkeep.forget',
  method: 'POST',
  path: '/v1/forget',
  summary: 'Remove a key from every retained root and pin',
  right: 'owner',
  namespaced: true,
  body: asked<{ readonly key: string }>({ key: text }),
  answer: named(
    'Forgotten',
    answered<Forgotten>({ roots: count, pins: count, seq: optional(count) }),
  ),
  errors: ['ENOENT', 'EPERM', 'ENONS'],
  waits: true,
})

export const exportTree = request({
  name: 'upkeep.export',
  method: 'GET',
  path: '/v1/export',
  summary: 'Stream the tree of a namespace, or its changes since an older root',
  right: 'read',
  ownerOnly: true,
  namespaced: true,
  query: { at: optional(at), since: optional(at), skipDamaged: optional(flag) },
  download: ['bytes'],
  errors: ['ECOMPACTED', 'ENONS'],
})

export const importTree = request({
  name: 'upkeep.import',
  method: 'POST',
  path: '/v1/import',
  summary: 'Fill a namespace from a stream that an export made',
  right: 'write',
  ownerOnly: true,
  namespaced: true,
  query: { replace: optional(flag) },
  upload: 'bytes',
  answer: imported,
  errors: ['ENOTEMPTY', 'ECONFLICT', 'EMISCONFIGURED', 'EPERM', 'EDQUOT'],
  waits: true,
})
