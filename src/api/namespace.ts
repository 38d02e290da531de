/** Namespaces: the calls on them, and their settings. See rfc/6 and rfc/10. */

import type { Blobref } from '../blob/blobref.js'

/** The namespace of a call that names none. It always exists. */
export const primary = 'primary'
/** The reserved namespace of jobs. */
export const jobsNamespace = 'jobs'
/** The first letters of the namespaces of cache layers (rfc/22, rule 1). */
export const layerPrefix = 'cache-'
/** The reserved namespaces, which always exist. They are written only by operations of their own
 *  (jobs, cache, …), never by a transaction. */
export const reservedNamespaces: ReadonlySet<string> = new Set([
  jobsNamespace,
  'cache',
  'flows',
  'system',
])

/** A namespace as callers see it. */
export type NamespaceView = {
  readonly name: string
  /** The random id of this life of the name, from its creation to its removal. */
  readonly incarnation: string
  readonly owner: string
  /** The time of its creation, wall clock, ms since 1970. */
  readonly created: number
  /** The seq of its newest root. */
  readonly seq: number
  /** The ref of its newest root. */
  readonly ref: Blobref
  /** The number of keys in the current tree. */
  readonly keys: number
  /** The bytes of the values in the current tree. */
  readonly size: number
  /** The bytes that only its retained history holds, estimated. No quota counts them. */
  readonly historySize: number
  readonly settings: Settings
}

/** The settings of a namespace. A root is retained while it is among the last `historyCount`, or
 *  younger than `historyAgeMs`. But the oldest roots are dropped while the history alone has more
 *  than `historySize` bytes. */
export type Settings = {
  /** The number of last roots to retain, at least 1. Default 4,096. */
  readonly historyCount: number
  /** The time for which a root is retained, in ms. Default one hour. */
  readonly historyAgeMs: number
  /** The largest size of the history, in bytes. Default 1 GiB. */
  readonly historySize: number
  /** The largest size of the current tree's values, in bytes. A write that would exceed it is
   *  EDQUOT. Absent: no bound. */
  readonly quota?: number
} & KeptJobs

/** The settings of the namespace `jobs` that say which finished jobs are kept. An absent
 *  one is no bound. */
export type KeptJobs = {
  /** The largest number of jobs. Above it, the oldest are removed. */
  readonly keepJobs?: number
  /** The time, in ms, after which a finished job is removed. */
  readonly keepJobsAgeMs?: number
  /** The largest size of the namespace, in bytes. Above it, the oldest jobs are removed. */
  readonly keepJobsSize?: number
}

/** The settings that may be absent; `null` removes one. */
export const optionalSettings = ['quota', 'keepJobs', 'keepJobsAgeMs', 'keepJobsSize'] as const
type OptionalSetting = (typeof optionalSettings)[number]

/** A change of settings. Fields that are left out stay. */
export type SettingsChange = Partial<Omit<Settings, OptionalSetting>> & {
  readonly [name in OptionalSetting]?: number | null
}

/** The options of `create`. */
export type CreateNamespaceOptions = {
  /** The tree to begin with: that of another namespace, now or at a retained root (`at`, its seq or
   *  its ref). It is taken by reference. */
  readonly from?: { readonly namespace?: string; readonly at?: number | string }
  readonly signal?: AbortSignal
}

type Signal = { readonly signal?: AbortSignal }

/** The namespaces of a store. */
export interface Namespaces {
  /** Lists all namespaces, in the order of their names. */
  list(options?: Signal): Promise<NamespaceView[]>
  /** Creates a namespace: empty, or with the tree of another one. Throws EEXIST, EINVAL, EPERM
   *  (reserved), ENONS, ECOMPACTED. */
  create(name: string, options?: CreateNamespaceOptions): Promise<NamespaceView>
  /** Removes a namespace with all its history. Its watchers end with ENONS. Throws ENONS, EPERM
   *  (`primary`, reserved). */
  remove(name: string, options?: Signal): Promise<void>
  /** Changes settings in one commit, and returns all of them. Fields that are left out stay. Throws
   *  EINVAL, ENONS. */
  configure(name: string, change: SettingsChange, options?: Signal): Promise<Settings>
}
