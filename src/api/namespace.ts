/** Namespaces: what is known of each, and its settings. See rfc/6 and rfc/10. */

import type { Blobref } from '../blob/blobref.js'

/** The namespace that is meant where none is named. It is always there. */
export const primary = 'primary'
/** Namespaces that are written through operations of their own (jobs, cache, …), never by a transaction. */
export const reservedNamespaces: ReadonlySet<string> = new Set(['jobs', 'cache', 'flows', 'system'])

/** What is known of a namespace. */
export type NamespaceView = {
  readonly name: string
  /** Its life, from its making to its removal: 32 hex digits. */
  readonly incarnation: string
  readonly owner: string
  /** Wall clock, ms since 1970. */
  readonly created: number
  /** Of its newest root. */
  readonly seq: number
  /** Of its newest root. */
  readonly ref: Blobref
  /** Keys of the current tree. */
  readonly keys: number
  /** Bytes of the values of the current tree. */
  readonly size: number
  /** Bytes that only its retained history holds, estimated: no quota counts them. */
  readonly historySize: number
  readonly settings: Settings
}

/** How much of the past a namespace retains, and its quota. A root is retained while it is among the last `historyCount`
 *  or younger than `historyAgeMs`; but the oldest go where what only they hold has more than `historySize` bytes. */
export type Settings = {
  /** Roots; at least 1. Default 4,096. */
  readonly historyCount: number
  /** Default one hour. */
  readonly historyAgeMs: number
  /** Default 1 GiB. */
  readonly historySize: number
  /** Bytes of the current tree's values: above, a write is EDQUOT. Absent: none. */
  readonly quota?: number
} & KeptJobs

/** Which finished jobs are kept, in the namespace `jobs` alone. Absent: no such rule. */
export type KeptJobs = {
  /** The oldest go while there are more jobs. */
  readonly keepJobs?: number
  /** A job goes so long after it finished, ms. */
  readonly keepJobsAgeMs?: number
  /** The oldest go while the namespace has more bytes. */
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
  /** Its tree is taken by reference. */
  readonly from?: { readonly namespace?: string; readonly at?: number | string }
  readonly signal?: AbortSignal
}

type Signal = { readonly signal?: AbortSignal }

/** The namespaces of a store. */
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
