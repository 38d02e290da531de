/** What a check of a store finds, and how it is said to people. See rfc/15.
 *  Invariant: a finding names the namespace and the key by which a user knows what is damaged. */

import type { Blobref } from '../blob/blobref.js'
import type { Code } from '../error.js'
import type { Damage } from '../tree/audit.js'
import { rootKey } from '../tree/key.js'

/** Findings that a report lists; `found` counts all. */
export const findingsMax = 10_000

/** data: the namespace's newest tree; meta: its present beside that tree; root: what names both; history:
 *  only in older, retained roots; pin: only in a pinned one; store: the engine's own tables. */
export type FindingWhere = 'data' | 'meta' | 'root' | 'history' | 'pin' | 'store'

export type Finding = {
  readonly where: FindingWhere
  readonly code: Code
  /** Absent: of the store itself. */
  readonly namespace?: string
  /** history, pin: the oldest root that has it. */
  readonly seq?: number
  /** The pin's name. */
  readonly pin?: string
  /** The key, or the directory (`/`: the root directory). */
  readonly key?: string
  /** Blobs from index `from` up to `to`, bytes from `offset` up to `end` of the value. */
  readonly blobs?: {
    readonly from: number
    readonly to: number
    readonly offset: number
    readonly end: number
  }
  /** Names of the directory, after `after`, up to `upTo`; keys below them and their bytes. */
  readonly names?: {
    readonly after?: string
    readonly upTo?: string
    readonly keys: number
    readonly size: number
  }
  /** So many other keys lead to it; absent: none. */
  readonly others?: number
  /** What is damaged or missing. */
  readonly ref?: Blobref
  readonly message: string
}

/** What was looked at so far. `total`: bytes that the store has, garbage included. */
export type CheckProgress = {
  readonly namespace: string
  readonly roots: number
  readonly nodes: number
  readonly blobs: number
  readonly size: number
  readonly total: number
}

/** One thing that a repair took out of a namespace's tree; `to` is absent where nothing survived. */
export type Moved = {
  readonly key: string
  readonly to?: string
  /** The key of the note that says what was lost. */
  readonly note: string
}

export type Repaired = {
  readonly namespace: string
  /** Of the commit. */
  readonly seq: number
  readonly moved: readonly Moved[]
}

export type CheckReport = {
  /** Nothing was found. */
  readonly clean: boolean
  readonly found: number
  readonly findings: readonly Finding[]
  /** The check ended at its limit of findings: the rest of the store was not looked at. */
  readonly stopped?: true
  readonly checked: Omit<CheckProgress, 'namespace' | 'total'> & { readonly namespaces: number }
  /** Absent where no repair was asked for. */
  readonly repaired?: readonly Repaired[]
}

export function findingOf(
  damage: Damage,
  place: Pick<Finding, 'where' | 'namespace' | 'seq' | 'pin'>,
): Finding {
  const { key, others, lost } = damage
  const { ref, error } = lost
  const found = { ...place, code: error.code, key: key === rootKey ? '/' : key }
  const rest = { ...(others > 0 ? { others } : {}), ref, message: error.message }
  if (damage.kind === 'blobs') {
    const { from, to, offset, end } = damage.lost
    return { ...found, blobs: { from, to, offset, end }, ...rest }
  }
  const { after, upTo, keys, size } = damage.lost
  const names = {
    ...(after === undefined ? {} : { after }),
    ...(upTo === undefined ? {} : { upTo }),
    keys,
    size,
  }
  return { ...found, names, ...rest }
}

/** One line, such as `primary: ci/log: blob 17 (bytes 4096–8191): ECORRUPT: …`. */
export function findingText(finding: Finding): string {
  const { namespace, where, seq, pin, key, others = 0, code, message } = finding
  const keys = others === 1 ? 'key' : 'keys'
  const place = [
    namespace ?? 'store',
    where === 'history' ? `root ${seq}` : undefined,
    where === 'pin' ? `pin ${pin}` : undefined,
    where === 'meta' ? 'meta' : undefined,
    others === 0 ? key : `${key} (and ${others} other ${keys})`,
    partText(finding),
    `${code}: ${message}`,
  ]
  return place.filter((part) => part !== undefined).join(': ')
}

function partText({ blobs, names }: Finding): string | undefined {
  if (blobs) {
    const { from, to, offset, end } = blobs
    const which = to === from + 1 ? `blob ${from}` : `blobs ${from}–${to - 1}`
    return end > offset ? `${which} (bytes ${offset}–${end - 1})` : which
  }
  if (!names) return undefined
  const { after, upTo, keys, size } = names
  const range =
    after === undefined && upTo === undefined
      ? 'all names'
      : `names after ${after ?? 'the beginning'} up to ${upTo ?? 'the end'}`
  return `${range} (${keys} keys, ${size} bytes)`
}
