/** The directory `lost+found` of a repaired namespace. It gets what survives of damaged values, and
 *  notes of what was lost. See rfc/15, rule 15.
 *  Invariant: no key that is there is replaced. If a place is taken, a number is added to its
 *  name. */

import assert from 'node:assert/strict'
import type { Moved } from '../api/check.js'
import { hashBlob } from '../blob/hash.js'
import type { Draft, DraftEntry, DraftPlace } from '../draft/draft.js'
import { isCode } from '../error.js'
import { parseKey } from '../treeobj/key.js'
import type { Treeobj } from '../treeobj/treeobj.js'

const lostFoundName = 'lost+found'
/** The number of places that are tried for one key. */
const placesMax = 10_000

export class LostFound {
  readonly #draft: Draft
  #directory: string | undefined

  constructor(draft: Draft) {
    this.#draft = draft
  }

  /** Puts what survived of a key (undefined: nothing) and the note into the directory, and returns
   *  their keys. `name` is the key, or a name in its place. */
  async place(
    name: string,
    kept: Treeobj | undefined,
    note: Treeobj,
  ): Promise<Pick<Moved, 'to' | 'note'>> {
    const directory = await this.#open()
    for (let number = 1; number <= placesMax; number++) {
      const to = `${directory}/${name}${number === 1 ? '' : `.${number}`}`
      const noteKey = `${to}.lost`
      if (!isKey(noteKey)) break
      if (await this.#set(to, kept, noteKey, note)) {
        return { ...(kept ? { to } : {}), note: noteKey }
      }
    }
    // The key is too long below the directory, or lies below a value. Use its hash, for which both
    // is false.
    return this.place(hashBlob(Buffer.from(name)), kept, note)
  }

  async #set(
    to: string,
    kept: Treeobj | undefined,
    noteKey: string,
    note: Treeobj,
  ): Promise<boolean> {
    const draft = this.#draft
    draft.begin()
    const place = kept && (await this.#free(to))
    if (!kept || place) {
      if (kept && place?.parent) draft.set(place.parent, place.name, entryOf(kept))
      const noted = await this.#free(noteKey)
      if (noted?.parent) {
        draft.set(noted.parent, noted.name, entryOf(note))
        return true
      }
    }
    draft.rollback()
    return false
  }

  /** Returns the place of a key that is not there, and makes its directories. Returns undefined if
   *  the key is there, or cannot be. */
  async #free(key: string): Promise<DraftPlace | undefined> {
    try {
      const place = await this.#draft.locate(parseKey(key), { follow: false, created: [] })
      return place.entry || place.foreign || !place.parent ? undefined : place
    } catch (error) {
      if (isCode(error, 'ENOTDIR') || isCode(error, 'ELOOP')) {
        return undefined
      }
      throw error
    }
  }

  /** Returns `lost+found`, or the first such name with a number at which there is a directory or
   *  nothing. */
  async #open(): Promise<string> {
    if (this.#directory !== undefined) return this.#directory
    for (let number = 1; ; number++) {
      const name = number === 1 ? lostFoundName : `${lostFoundName}.${number}`
      const { entry } = await this.#draft.locate(parseKey(name), { follow: false })
      if (entry && entry.type !== 'draft') continue
      this.#directory = name
      return name
    }
  }
}

function isKey(text: string): boolean {
  try {
    parseKey(text)
    return true
  } catch {
    return false
  }
}

function entryOf(treeobj: Treeobj): DraftEntry {
  assert(treeobj.type !== 'dir', 'only values are put into lost+found')
  return treeobj
}
