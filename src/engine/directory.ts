/** Opens the store of a data directory, which is in `store/`, beside `format.json`. See
 *  rfc/13, rule 19.
 *  Invariant: where `format.json` is there and the store is not, the store was lost, and no
 *  new one is made. */

import { join } from 'node:path'
import type { Environment } from '../base/environment.js'
import { makeDirectory } from '../base/make-directory.js'
import { assertOwnDirectory, assertOwnFile, closeOwnDirectory } from '../base/own.js'
import { TailraceError } from '../error.js'
import { type JournalLook, lookAtJournal } from '../journal/scan.js'
import { formatFile, readFormat, settleFormat } from './format-file.js'
import type { LocalEngine } from './local-engine.js'
import { openError, openLocal } from './local-open.js'
import { journalName } from './local-state.js'
import type { OnMigration } from './migrate.js'
import { type DataFileLook, dataFile, hasStore, lookAtDataFile } from './openable.js'
import { ownerOf } from './owner.js'
import { reserveSize } from './reserve.js'

type DirectoryOptions = {
  readonly environment: Environment
  readonly existing?: boolean
  readonly incomplete?: boolean
  readonly onMigration?: OnMigration
}

/** Opens the store of a data directory. Where there is none it makes both, with mode 0700, unless
 *  `existing`. With `incomplete` it also opens one that lacks segments. Throws ENOENT (`existing`, and
 *  there is none), ECORRUPT (damaged, cut, or lost), EBUSY, EPERM (the directory is somebody else's, or others may write in it), EMISCONFIGURED (a
 *  newer format, another store's directory, no native build), ENOSPC, EIO. */
export async function openDirectory(
  directory: string,
  options: DirectoryOptions,
): Promise<LocalEngine> {
  try {
    return await openOwn(directory, options)
  } catch (error) {
    throw await openError(directory, error)
  }
}

async function openOwn(directory: string, options: DirectoryOptions): Promise<LocalEngine> {
  const { environment, existing = false, incomplete = false, onMigration } = options
  const path = join(directory, 'store')
  await assertOwnDirectory(directory)
  await closeOwnDirectory(path)
  await assertOwnFile(join(path, dataFile))
  const format = await readFormat(directory)
  if (format && !(await hasStore(path))) throw lost(directory)
  if (existing && !format && !(await hasStore(path))) {
    throw new TailraceError('ENOENT', `there is no store in ${directory}: name its directory`)
  }
  if (!existing) await makeDirectory(directory)
  const engine = await openLocal(path, {
    ...{ environment, incomplete, ...(onMigration && { onMigration }) },
    existing: existing || format !== undefined,
  })
  try {
    await settleFormat(directory, engine)
    return engine
  } catch (error) {
    await engine[Symbol.asyncDispose]()
    throw error
  }
}

/** The free space of a disk, in bytes, below which the store has no room for what frees space
 *  (rfc/4, rule 31). */
export const freeSpaceMin = reserveSize

/** The state of a store that is not opened for the look. */
export type StoreLook = {
  /** The process that opened it last. */
  readonly owner:
    | { readonly pid: number; readonly host: string; readonly holds: boolean }
    | undefined
  readonly data: DataFileLook
  readonly journal: JournalLook
}

/** Looks at the files of a data directory's store: cheap, and less than a check finds. Changes
 *  nothing. What a process that holds it writes meanwhile can look torn. Throws what node:fs
 *  throws. */
export async function lookAtStore(directory: string): Promise<StoreLook> {
  const path = join(directory, 'store')
  return {
    owner: ownerOf(path),
    data: await lookAtDataFile(path),
    journal: await lookAtJournal(join(path, journalName)),
  }
}

function lost(directory: string): TailraceError {
  const message = `${formatFile(directory)} is there, but ${join(directory, 'store', dataFile)} is not: the store was lost; restore a copy, or remove format.json to begin an empty one`
  return new TailraceError('ECORRUPT', message)
}
