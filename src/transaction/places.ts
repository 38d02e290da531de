/** Where a write lands, and what it may not break there. See rfc/6.
 *  Invariant: nothing here changes a key; parents are made, undone with the transaction. */

import { hashBlob } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import { emptyArray, openArray, pushBlob } from '../tree/array.js'
import type { Key } from '../tree/key.js'
import { checkBreaks } from './breaks.js'
import type { DraftDir, Entry, OpenLog, Place } from './draft.js'
import type { Group } from './group.js'
import { endLife } from './life.js'
import type { Work } from './work.js'

/** Where a put or a link lands: not on a directory; parents are made. */
export async function replaceable(
  group: Group,
  key: Key,
  work: Work,
): Promise<Place & { readonly parent: DraftDir }> {
  const place = await writable(group, key, work, { follow: false })
  const { parent, entry } = place
  if (!parent || entry?.type === 'draft') throw isDirectory(key)
  if (entry) {
    if (group.appended.size > 0) await checkBreaks(group, place.key, entry)
    const ended = endLife(group, place.key)
    if (ended) await ended
  }
  return { ...place, parent }
}

/** Where a write lands, its parents made. */
export async function writable(
  group: Group,
  key: Key,
  work: Work,
  options: { readonly follow: boolean },
): Promise<Place> {
  const created: Key[] = []
  const place = own(await group.draft.locate(key, { follow: options.follow, created }), key)
  for (const directory of created) work.changed.push(directory)
  return place
}

export function own(place: Place, key: Key): Place {
  if (!place.foreign) return place
  throw new TailraceError(
    'EPERM',
    `${key} leads into the namespace ${place.foreign.link.namespace}: write there by its own name`,
  )
}

/** A value as a log; an inline one becomes a log whose first blob it is. */
export async function logOf(
  group: Group,
  entry: Exclude<Entry, DraftDir>,
  work: Work,
): Promise<OpenLog> {
  switch (entry.type) {
    case 'log':
      return entry
    case 'valref':
      return {
        type: 'log',
        array: await openArray(group.nodes, entry),
        attrs: entry.attrs,
        base: entry.base,
      }
    case 'val': {
      const blob = { ref: hashBlob(entry.data), bytes: entry.data }
      work.blobs.push(blob)
      const array = pushBlob(group.writer, emptyArray, {
        ref: blob.ref,
        size: entry.data.length,
        more: false,
      })
      return { type: 'log', array, attrs: entry.attrs, base: undefined }
    }
    case 'symlink': // `locate` follows the last link for everything that asks for a log.
      throw new TailraceError('ELOOP', 'a link that was followed is a link still')
    default:
      return entry satisfies never
  }
}

export function isDirectory(key: Key): TailraceError {
  return new TailraceError('EISDIR', `${key === '' ? '/' : key} is a directory`)
}
