/** The records `settings` and `floor` of a namespace's `meta`: how much of its past is retained,
 *  its quota, in the namespace `jobs` which finished jobs are kept; and the oldest seq that is
 *  retained. See rfc/10, rules 1, 2 and 6, and rfc/6, rule 35 for the quota.
 *  Invariant: settings that were read or changed here are within their bounds. A namespace without
 *  a record has the defaults. The recorded floor never goes back. */

import { optionalSettings, type Settings, type SettingsChange } from '../api/namespace.js'
import { corrupt, isCount } from '../base/stored.js'
import type { Blobref } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import type { DraftGroup, Work } from '../draft/group.js'
import { getRecord, lacksKind, type MetaRecord, readRecord, setRecord } from '../draft/meta.js'
import { TailraceError } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../treeobj/treeobj.js'

/** The settings that only the namespace `jobs` has. */
export const jobSettingNames: readonly string[] = optionalSettings.filter(
  (name) => name !== 'quota',
)

const settingsPath = ['settings'] as const
/** The path of the recorded floor, `[seq]`: no older root is retained, whatever clock and
 *  settings say later. */
const floorPath = ['floor'] as const

/** The settings of a namespace without a record. */
export const settingsDefault: Settings = {
  historyCount: 4_096,
  historyAgeMs: 3_600_000,
  historySize: 1024 * 1024 * 1024,
}

/** Reads the settings in a committed meta tree. Throws ECORRUPT, EDANGLING, EIO. */
async function readSettings(nodes: Nodes, meta: Dir): Promise<Settings> {
  const record = await readRecord(nodes, meta, settingsPath)
  return record ? decodeSettings(record) : settingsDefault
}

/** A cache of a namespace's settings. It reads them again only if the `meta` tree has changed. */
export class SettingsCache {
  #cached: { readonly meta: Blobref | undefined; readonly settings: Settings } | undefined

  /** Returns the settings in a committed meta tree. Throws ECORRUPT, EDANGLING, EIO. */
  async read(nodes: Nodes, meta: Dir): Promise<Settings> {
    const cached = this.#cached
    if (cached && cached.meta === meta.ref) return cached.settings
    const settings = await readSettings(nodes, meta)
    this.#cached = { meta: meta.ref, settings }
    return settings
  }
}

/** Reads the recorded floor in a committed meta tree; 0 where none is recorded. Throws ECORRUPT,
 *  EDANGLING, EIO. */
export async function readFloor(nodes: Nodes, meta: Dir): Promise<number> {
  const record = await readRecord(nodes, meta, floorPath)
  return record ? decodeFloor(record) : 0
}

/** Decodes the recorded floor. Throws ECORRUPT. */
export function decodeFloor([floor]: MetaRecord): number {
  if (!isCount(floor)) throw corrupt('the settings of a namespace')
  return floor
}

/** Encodes settings as rfc/10, rule 2 says. */
export function encodeSettings(settings: Settings): readonly Plain[] {
  const { historyCount, historyAgeMs, historySize } = settings
  const [quota, ...kept] = optionalSettings.map((name) => settings[name] ?? null)
  const record = [historyCount, historyAgeMs, historySize, quota ?? null]
  return kept.some((value) => value !== null) ? [...record, ...kept] : record
}

/** Decodes settings. Throws ECORRUPT. */
export function decodeSettings(record: MetaRecord): Settings {
  const [historyCount, historyAgeMs, historySize, ...rest] = record
  if (!isCount(historyCount) || !isCount(historyAgeMs) || !isCount(historySize))
    throw corrupt('the settings of a namespace')
  const settings: { -readonly [name in keyof Settings]: Settings[name] } = {
    historyCount,
    historyAgeMs,
    historySize,
  }
  for (const [index, name] of optionalSettings.entries()) {
    // Records from before the settings of jobs end with the quota.
    const value = index === 0 ? rest[index] : (rest[index] ?? null)
    if (value === null) continue
    if (!isCount(value)) throw corrupt('the settings of a namespace')
    settings[name] = value
  }
  return settings
}

/** Returns settings with a change: a field that is left out stays, null takes one
 *  away. Throws EINVAL. */
export function changeSettings(before: Settings, change: SettingsChange): Settings {
  const merged = { ...before, ...change }
  const settings: { -readonly [name in keyof Settings]: Settings[name] } = {
    historyCount: check('historyCount', merged.historyCount, 1),
    historyAgeMs: check('historyAgeMs', merged.historyAgeMs, 0),
    historySize: check('historySize', merged.historySize, 0),
  }
  for (const name of optionalSettings) {
    const value = merged[name]
    if (value !== undefined && value !== null) settings[name] = check(name, value, 0)
  }
  return settings
}

function check(name: string, value: unknown, min: number): number {
  if (isCount(value) && value >= min) return value
  throw new TailraceError('EINVAL', `${name} is a whole number, ${min} or more`)
}

/** The op that changes settings and records a floor. Only the store submits it: see
 *  `kvs/configure.ts`. */
export type Retain = {
  readonly op: 'retain'
  readonly change: SettingsChange
  /** The oldest seq that is retained; `here` is the seq of this transaction. */
  readonly floor: number | 'here'
  /** Called with all settings once the change is durable. */
  readonly changed: (settings: Settings) => void
}

/** Changes the settings, and raises the recorded floor if the new one is higher. Throws EINVAL. */
export async function retain(
  { meta }: DraftGroup,
  { change, floor: asked, changed }: Retain,
  work: Work,
): Promise<void> {
  const floor = asked === 'here' ? work.seq + 1 : asked
  const record = await getRecord(meta, settingsPath)
  const settings = changeSettings(record ? decodeSettings(record) : settingsDefault, change)
  if (Object.keys(change).length > 0) {
    await setRecord(meta, settingsPath, encodeSettings(settings))
  }
  const recorded = await getRecord(meta, floorPath)
  if (floor > (recorded ? decodeFloor(recorded) : 0)) await setRecord(meta, floorPath, [floor])
  work.effects.push(() => changed(settings))
  work.results.push({})
}

/** Checks the quota after a transaction; `before` is the size of the values before it, in bytes.
 *  Throws EDQUOT if the size has grown and is above the quota. */
export function checkQuota(group: DraftGroup, before: number): Promise<void> | undefined {
  const grown = group.draft.size > before && !lacksKind(group, settingsPath[0])
  return grown ? checkSize(group) : undefined
}

async function checkSize(group: DraftGroup): Promise<void> {
  const { size } = group.draft
  const record = await getRecord(group.meta, settingsPath)
  const quota = record && decodeSettings(record).quota
  if (quota === undefined || size <= quota) return
  throw new TailraceError(
    'EDQUOT',
    `the values of ${group.namespace} would have ${size} bytes, its quota is ${quota}: remove some, or raise it`,
    { failed: { state: { size, quota } } },
  )
}
