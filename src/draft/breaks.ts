/** What a group may not do to a key before it is committed: hide from watchers what its earlier transactions
 *  appended. See rfc/17, rule 3.
 *  Invariant: a watcher of a log depends on the log, the directories above it, and the links that it came
 *  over with the directories above those. Which links lead to a log nobody keeps: any may. */

import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'
import { type Draft, DraftDir, type DraftEntry } from './draft.js'
import type { DraftGroup } from './group.js'

/** Entries of a directory, and below it, among which links are sought. */
export const linksSoughtMax = 256

/** Thrown by a transaction that must see its group committed first: it opens the next one. */
export class OpensNextGroup extends Error {}

/** An entry is replaced or removed: what earlier transactions of the group appended to it, below it
 *  or behind it must have been seen by its watchers before. */
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

/** No where there is none. Beyond `linksSoughtMax` entries, and where some cannot be read, there may be. */
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
