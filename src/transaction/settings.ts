/** A namespace's settings, as they stand in `meta`: how much of the past is retained, and the quota. See
 *  rfc/10.
 *  Invariant: what leaves here is within the bounds; a namespace without a record has the defaults. */

import type { Blobref } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import { TailraceError } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import { type MetaRecord, readRecord } from './meta.js'

/** A namespace's retention and quota. Roots are retained while they are among the last `historyCount` or
 *  younger than `historyAgeMs`, but the oldest go where what only they hold has more than
 *  `historySize` bytes. `quota`: bytes of the current tree's values; absent: none. */
export type Settings = {
  readonly historyCount: number
  readonly historyAgeMs: number
  readonly historySize: number
  readonly quota?: number
}

/** `quota: null` takes the quota away. What is left out stays. */
export type SettingsChange = Partial<Omit<Settings, 'quota'>> & { readonly quota?: number | null }

export const settingsPath = ['settings'] as const
/** `[seq]`: no older root is retained, whatever clock and settings say later. */
export const floorPath = ['floor'] as const

export const settingsDefault: Settings = {
  historyCount: 4_096,
  historyAgeMs: 3_600_000,
  historySize: 1024 * 1024 * 1024,
}

/** Throws ECORRUPT, EDANGLING, EIO. */
export async function readSettings(nodes: Nodes, meta: Dir): Promise<Settings> {
  const record = await readRecord(nodes, meta, settingsPath)
  return record ? decodeSettings(record) : settingsDefault
}

/** The settings of a namespace's newest root, read again only where its `meta` is another. */
export class SettingsCache {
  #cached: { readonly meta: Blobref | undefined; readonly settings: Settings } | undefined

  async read(nodes: Nodes, meta: Dir): Promise<Settings> {
    const cached = this.#cached
    if (cached && cached.meta === meta.ref) return cached.settings
    const settings = await readSettings(nodes, meta)
    this.#cached = { meta: meta.ref, settings }
    return settings
  }
}

/** 0 where none is recorded. Throws ECORRUPT, EDANGLING, EIO. */
export async function readFloor(nodes: Nodes, meta: Dir): Promise<number> {
  const record = await readRecord(nodes, meta, floorPath)
  return record ? decodeFloor(record) : 0
}

export function decodeFloor([floor]: MetaRecord): number {
  if (!isCount(floor)) throw corrupt()
  return floor
}

export function encodeSettings(settings: Settings): readonly Plain[] {
  const { historyCount, historyAgeMs, historySize, quota } = settings
  return [historyCount, historyAgeMs, historySize, quota ?? null]
}

export function decodeSettings(record: MetaRecord): Settings {
  const [historyCount, historyAgeMs, historySize, quota] = record
  if (!isCount(historyCount) || !isCount(historyAgeMs) || !isCount(historySize)) throw corrupt()
  const base = { historyCount, historyAgeMs, historySize }
  if (quota === null) return base
  if (!isCount(quota)) throw corrupt()
  return { ...base, quota }
}

/** Throws EINVAL. */
export function changeSettings(before: Settings, change: SettingsChange): Settings {
  const { quota: quotaBefore, ...history } = before
  const { quota = quotaBefore ?? null, ...rest } = change
  const settings = { ...history, ...rest, ...(quota === null ? {} : { quota }) }
  const { historyCount, historyAgeMs, historySize } = settings
  check('historyCount', historyCount, 1)
  check('historyAgeMs', historyAgeMs, 0)
  check('historySize', historySize, 0)
  if (settings.quota !== undefined) check('quota', settings.quota, 0)
  return settings
}

function check(name: string, value: unknown, min: number): void {
  if (isCount(value) && value >= min) return
  throw new TailraceError('EINVAL', `${name} is a whole number, ${min} or more`)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function corrupt(): TailraceError {
  return new TailraceError('ECORRUPT', 'the settings of a namespace cannot be read: restore a copy')
}
