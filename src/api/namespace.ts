/** Namespaces: what is known of each, and its settings. See rfc/6 and rfc/10. */

import type { Blobref } from '../blob/blobref.js'

/** Always there. */
export const primary = 'primary'
/** Written only through operations of their own (jobs, cache, …), never by a transaction. */
export const reservedNamespaces: ReadonlySet<string> = new Set(['jobs', 'cache', 'flows', 'system'])

export type NamespaceView = {
  readonly name: string
  readonly incarnation: string
  readonly owner: string
  readonly created: number
  readonly seq: number
  readonly ref: Blobref
  /** Keys and bytes of the current tree. */
  readonly keys: number
  readonly size: number
  /** Bytes that only its retained history holds, estimated (rfc/10, rule 5): no quota counts them. */
  readonly historySize: number
  readonly settings: Settings
}

/** A namespace's retention and quota. Roots are retained while they are among the last `historyCount` or
 *  younger than `historyAgeMs`, but the oldest go where what only they hold has more than
 *  `historySize` bytes. `quota`: bytes of the current tree's values; absent: none. */
export type Settings = {
  readonly historyCount: number
  readonly historyAgeMs: number
  readonly historySize: number
  readonly quota?: number
} & KeptJobs

/** Which finished jobs are kept, in the namespace `jobs` alone (rfc/11, rule 19): the oldest go while there are
 *  more than `keepJobs` jobs, or while the namespace has more than `keepJobsSize` bytes; one that finished
 *  `keepJobsAgeMs` ago goes. Absent: no such rule. */
export type KeptJobs = {
  readonly keepJobs?: number
  readonly keepJobsAgeMs?: number
  readonly keepJobsSize?: number
}

/** Settings that may be absent; `null` removes one. */
export const optionalSettings = ['quota', 'keepJobs', 'keepJobsAgeMs', 'keepJobsSize'] as const
type OptionalSetting = (typeof optionalSettings)[number]

/** A change of settings. Fields left out stay. */
export type SettingsChange = Partial<Omit<Settings, OptionalSetting>> & {
  readonly [name in OptionalSetting]?: number | null
}

/** What a new namespace begins with: the tree of another one, now or at a retained root (its seq or its ref). */
export type CreateNamespaceOptions = {
  readonly from?: { readonly namespace?: string; readonly at?: number | string }
  readonly signal?: AbortSignal
}

type Signal = { readonly signal?: AbortSignal }

export interface Namespaces {
  /** All namespaces, in the order of their names. */
  list(options?: Signal): Promise<NamespaceView[]>
  /** Makes a namespace: empty, or with the tree of another one, by reference. Throws EEXIST, EINVAL, EPERM
   *  (reserved), ENONS, ECOMPACTED. */
  create(name: string, options?: CreateNamespaceOptions): Promise<NamespaceView>
  /** Removes a namespace with all its history. Its watchers end with ENONS. Throws ENONS, EPERM (`primary`,
   *  reserved). */
  remove(name: string, options?: Signal): Promise<void>
  /** Changes settings, in one commit; fields left out stay. Throws EINVAL, ENONS. */
  configure(name: string, change: SettingsChange, options?: Signal): Promise<Settings>
}
