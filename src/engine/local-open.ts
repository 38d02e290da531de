/** Opens the store of a directory for this process: takes its lock, looks at its files before any of
 *  them is used, brings an older format up to this one, and puts the engine together. See rfc/4,
 *  rules 20 to 23.
 *  Invariant: one process has a directory open at a time. A store is made in an order in which a
 *  crash leaves either nothing or all of it. */

import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import type { Environment } from '../base/environment.js'
import { makeDirectory, syncDirectory, syncName } from '../base/make-directory.js'
import { isFullError, reasonOf, TailraceError, toTailraceError } from '../error.js'
import { makeJournal } from '../journal/journal.js'
import { journalStart } from '../journal/place.js'
import { isFull } from './disk.js'
import { positionKey } from './flush.js'
import { assertFormat, type Identity, identify, isStore, storeFiles } from './identity.js'
import { isDamage, type OpenTables, openTables } from './lmdb.js'
import { LocalEngine } from './local-engine.js'
import { journalName, type LocalBounds, LocalState } from './local-state.js'
import { discardMigration, isOlder, migrate, type OnMigration } from './migrate.js'
import { makeOpenable } from './openable.js'
import { StoreLock } from './owner.js'
import { encodePosition } from './record.js'
import { Reserve } from './reserve.js'
import { Writes } from './tables.js'

export type LocalOptions = {
  readonly environment: Environment
  readonly bounds?: LocalBounds
  /** True if no store is made: one that is missing, or was never finished, is then an error. */
  readonly existing?: boolean
  /** True if the store is opened though segments of its journal are missing. */
  readonly incomplete?: boolean
  /** Called while a store of an older format is brought up to this one. */
  readonly onMigration?: OnMigration
}

/** Opens the store in a directory; makes both where they are missing (the directory with mode
 *  0700), unless `existing`. Throws EBUSY (it is open already: the message has the path and the pid
 *  of that process), EMISCONFIGURED (a newer format, no native build), ECORRUPT, ENOSPC, EIO. */
export async function openLocal(directory: string, options: LocalOptions): Promise<LocalEngine> {
  try {
    if (!options.existing) await makeDirectory(directory)
    const path = await realpath(directory)
    const lock = await StoreLock.take(path)
    try {
      return await openLocked(path, lock, options)
    } catch (error) {
      lock.release()
      throw error
    }
  } catch (error) {
    throw await openError(directory, error)
  }
}

async function openLocked(
  directory: string,
  lock: StoreLock,
  options: LocalOptions,
): Promise<LocalEngine> {
  const { environment, existing = false, incomplete = false, onMigration } = options
  const bounds = { ...options.bounds, incomplete }
  await withReserve(directory, () => makeOpenable(directory, { existing }))
  await discardMigration(directory)
  let tables = await openTables(directory)
  try {
    // Who made these files, or gave them their names, may have ended before that was durable.
    await syncName(directory)
    await syncDirectory(directory)
    assertFormat(tables.meta, directory)
    if (isOlder(tables.meta)) tables = await migrate(directory, tables, onMigration)
    const { identity, state } = await claim(tables, { directory, environment, bounds })
    state.roots.rebuild()
    const release = async () => {
      await tables.close()
      lock.release()
    }
    const { storeId, formerId } = identity
    return new LocalEngine({ environment, storeId, formerId, directory, state, bounds, release })
  } catch (error) {
    await tables.close()
    throw error
  }
}

/** Takes the store for this process: reads its identity and its journal, and makes the changes of the
 *  identity durable. */
async function claim(
  tables: OpenTables,
  options: {
    readonly directory: string
    readonly environment: Environment
    readonly bounds: LocalBounds & { readonly incomplete: boolean }
  },
): Promise<{ readonly identity: Identity; readonly state: LocalState }> {
  const { directory, environment, bounds } = options
  const files = await storeFiles(directory)
  const writes = new Writes()
  if (!isStore(tables.meta)) {
    // The journal first: so it is there wherever the tables say that a store is.
    await makeJournal(join(directory, journalName))
    const identity = identify(tables, files, { environment, directory, writes })
    writes.put(tables.meta, positionKey, encodePosition(journalStart))
    await tables.write(writes)
    const state = await LocalState.open(directory, tables, bounds)
    return { identity, state }
  }
  const state = await LocalState.open(directory, tables, bounds)
  try {
    const identity = identify(state, files, { environment, directory, writes })
    if (writes.list.length === 0) return { identity, state }
    // The tables must have all of the journal first: what it has would be newer otherwise.
    await state.flush.all()
    const changes = new Writes()
    const changed = identify(tables, files, { environment, directory, writes: changes })
    await tables.write(changes)
    return { identity: changed, state }
  } catch (error) {
    await state.close()
    throw error
  }
}

/** Runs `act`. On a full disk it gives parts of the reserve back to the disk, and runs `act` again
 *  (rfc/4, rule 31). */
async function withReserve<T>(directory: string, act: () => Promise<T>): Promise<T> {
  const reserve = new Reserve(directory)
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (!isFullError(error) || !reserve.release()) throw error
    }
  }
}

/** Resolves to the error of a store that does not open, which says what happened and what to do. A
 *  TailraceError stays as it is. */
export async function openError(directory: string, error: unknown): Promise<TailraceError> {
  if (error instanceof TailraceError) return error
  if (isFullError(error) || (await isFull(directory, 0))) {
    const message = `no space left to open the store in ${directory}: make space, then open it again`
    return new TailraceError('ENOSPC', message, { cause: error })
  }
  const reason = reasonOf(error)
  if (isDamage(error)) {
    const message = `the store in ${directory} is damaged (${reason}): restore a copy`
    return new TailraceError('ECORRUPT', message, { cause: error })
  }
  const { code } = toTailraceError(error)
  const message = `cannot open the store in ${directory} (${reason}): check the directory and the disk`
  return new TailraceError(code, message, { cause: error })
}
