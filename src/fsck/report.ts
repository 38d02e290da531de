/** Makes the findings of a check, and their text for people. See rfc/15, rule 14.
 *  Invariant: a finding names the namespace and the key by which a user knows what is damaged. */

import type { Finding } from '../api/check.js'
import { shownKey } from '../treeobj/key.js'
import type { Damage } from '../walk/audit.js'

/** Makes the finding of a damage. */
export function findingOf(
  damage: Damage,
  place: Pick<Finding, 'where' | 'namespace' | 'seq' | 'pin'>,
): Finding {
  const { key, others, lost } = damage
  const { ref, error } = lost
  const found = { ...place, code: error.code, key: shownKey(key) }
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

/** Writes a finding as one line, such as `primary: ci/log: blob 17 (bytes 4096–8191): ECORRUPT:
 *  …`. */
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
