/** Checks that a commit group hides no appends from watchers: a transaction that replaces or
 *  removes a log must go into the next group if an earlier transaction of this group appended to
 *  it. See rfc/17, rule 3.
 *  Invariant: a watcher of a log depends on the log, on the links that lead to it,
 *  and on the directories above each of these. Nothing records which links lead to a
 *  log, so any link may be one. */

import { TailraceError } from '../error.js'
import type { Key } from '../treeobj/key.js'
import { type Draft, DraftDir, type DraftEntry } from './draft.js'
import type { DraftGroup } from './group.js'

/** The largest number of entries, in and below a directory, among which links are looked for. */
export const linksSoughtMax = 256

/** Thrown by a transaction that must wait until its group is committed: it
 *  goes into the next group. */
export class OpensNextGroup extends Error {}

/** Checks an entry that is to be replaced or removed. Throws OpensNextGroup if an earlier
 *  transaction of the group appended to it, to a log below it, or perhaps to a log behind a link in
 *  it: watchers must see that append first. */
export async function checkBreaks(group: DraftGroup, key: Key, entry: DraftEntry): Promise<void> {
  const { appended, draft } = group
  if (appended.size === 0) return
  if (entry.type === 'symlink' || appended.has(key)) throw new OpensNextGroup()
  if (entry.type !== 'draft') return
  for (const each of appended) {
    if (key === '' || each.startsWith(`${key}/`)) throw new OpensNextGroup()
  }
  if (await mayHoldLinks(draft, entry)) throw new OpensNextGroup()
}

/** False if no link is in the directory or below it. True as well if there are more than
 *  `linksSoughtMax` entries, or if some cannot be read, since one of them may be a link. */
async function mayHoldLinks(draft: Draft, directory: DraftDir): Promise<boolean> {
  const waiting = [directory]
  let looked = 0
  try {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      if (next.keys === 0) continue // a link is a key
      if (next.keys > linksSoughtMax) return true
      for (const entry of next.edits.values()) {
        if (entry?.type === 'symlink' || ++looked > linksSoughtMax) return true
        if (entry?.type === 'draft') waiting.push(entry)
      }
      for await (const [name, treeobj] of draft.baseEntries(next)) {
        if (++looked > linksSoughtMax) return true
        if (next.edits.has(name)) continue
        if (treeobj.type === 'symlink') return true
        if (treeobj.type === 'dir') waiting.push(next.children.get(name) ?? new DraftDir(treeobj))
      }
    }
    return false
  } catch (error) {
    if (!(error instanceof TailraceError)) throw error
    return true
  }
}
