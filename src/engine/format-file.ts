/** The file `format.json` of a data directory, which names its store. See rfc/13, rule 19.
 *  Invariant: it is written after the store is durable. So where it is there, a store was. */

import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory } from '../base/make-directory.js'
import { hasSystemCode, TailraceError } from '../error.js'

/** The format of a data directory that this version writes. It reads older ones, too. */
export const formatVersion = 2

type Format = { readonly storeId: string; readonly format: number }

/** Checks that `format.json`, if it is there, names this store. Throws EMISCONFIGURED (it names
 *  another one, or has a newer format). */
export async function checkFormat(directory: string, storeId: string): Promise<void> {
  const format = await readFormat(directory)
  if (format && format.storeId !== storeId) throw foreign(directory)
}

/** Writes the file where it is missing, has an older format, or has the id that the store had before
 *  it was copied.
 *  REQUIRES: the store is open, so that no other process writes here. Throws EMISCONFIGURED (it
 *  names another store). */
export async function settleFormat(
  directory: string,
  store: { readonly storeId: string; readonly formerId: string | undefined },
): Promise<void> {
  const { storeId, formerId } = store
  const format = await readFormat(directory)
  if (format?.storeId === storeId && format.format === formatVersion) return
  if (format && format.storeId !== storeId && format.storeId !== formerId) throw foreign(directory)
  await writeFormat(directory, storeId)
}

/** Reads the file. Undefined where there is none. Throws EMISCONFIGURED (a newer
 *  format, or no JSON). */
export async function readFormat(directory: string): Promise<Format | undefined> {
  const path = formatFile(directory)
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (hasSystemCode(error, 'ENOENT')) return undefined
    throw error
  })
  if (text === undefined) return undefined
  const { format, storeId } = parse(path, text)
  if (typeof format !== 'number' || format < 1 || format > formatVersion) {
    const message = `${path} has format ${String(format)}; this program reads up to ${formatVersion}: use a newer one`
    throw new TailraceError('EMISCONFIGURED', message)
  }
  return { storeId: String(storeId), format }
}

function parse(path: string, text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // The error below says it.
  }
  const message = `${path} is not JSON: remove it, a new one is written`
  throw new TailraceError('EMISCONFIGURED', message)
}

async function writeFormat(directory: string, storeId: string): Promise<void> {
  const path = formatFile(directory)
  const temporary = `${path}.${process.pid}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(`${JSON.stringify({ format: formatVersion, storeId })}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  await syncDirectory(directory)
}

/** Returns the path of the file. */
export function formatFile(directory: string): string {
  return join(directory, 'format.json')
}

function foreign(directory: string): TailraceError {
  const message = `${formatFile(directory)} is of another store: give this one a directory of its own, or remove the file if this is the store that you mean`
  return new TailraceError('EMISCONFIGURED', message)
}
