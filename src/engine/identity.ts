/** The identity of a store: its id, and the files that it was made in. A copy of these files is
 *  another store. It gets an id of its own when it is opened, and its namespaces get other
 *  incarnations, so that each of the two refuses the positions and tokens of the other. See rfc/4,
 *  rules 29 and 30.
 *  Invariant: id, files and incarnations change in one transaction, before anything is served. */

import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../base/environment.js'
import { type FileIdentity, fileIdentity, isSameFile } from '../base/file-identity.js'
import { generationOf } from '../base/posix.js'
import { corrupt } from '../base/stored.js'
import { decode, encode, type Plain } from '../blob/codec.js'
import { TailraceError } from '../error.js'
import { lifeOf } from './engine.js'
import { dataFile } from './openable.js'
import { heldBy, isAlive, parseOldOwner } from './owner.js'
import { encodeNamespace, parseDeadKey, parseNamespace } from './record.js'
import type { Table, Tables, Writes } from './tables.js'

/** The number of the format of this version. A store with a higher one is refused. */
export const format = 2

/** The key of the format in the table `meta`. */
export const formatKey = Buffer.from('format')
const storeIdKey = Buffer.from('storeId')
const formerIdKey = Buffer.from('formerId')
const filesKey = Buffer.from('files')
const ownerKey = Buffer.from('owner')

/** The identities of a store's directory and of its data file. */
type StoreFiles = { readonly directory: FileIdentity; readonly data: FileIdentity }

/** The identity of an opened store. */
export type Identity = {
  readonly storeId: string
  /** The id of the store that this one is a copy of. */
  readonly formerId: string | undefined
  /** True if this opening makes the store. */
  readonly fresh: boolean
}

/** Returns the identities of a store's files. REQUIRES: the data file is there. Throws what
 *  node:fs throws. */
export async function storeFiles(
  directory: string,
  dataPath = join(directory, dataFile),
): Promise<StoreFiles> {
  const identify = (path: string) => {
    const descriptor = openSync(path, 'r')
    try {
      return fileIdentity(path, generationOf(descriptor))
    } finally {
      closeSync(descriptor)
    }
  }
  const data = await identify(dataPath)
  return { directory: await identify(directory), data }
}

/** True if the tables say that a store is there. */
export function isStore(meta: Table): boolean {
  return meta.get(storeIdKey) !== undefined
}

/** Adds to `writes` the record of a store's files after its data file was made anew. The record of a
 *  copy stays as it is, so that the copy is still known as one. Throws what node:fs throws. */
export async function refile(
  directory: string,
  data: string,
  { from, to, writes }: { readonly from: Table; readonly to: Table; readonly writes: Writes },
): Promise<void> {
  const recorded = readFiles(from)
  if (!recorded) return
  const isCopy = !areSame(recorded, await storeFiles(directory))
  const files = isCopy ? recorded : await storeFiles(directory, data)
  writes.put(to, filesKey, encodeFiles(files))
}

/** Checks the format of a store. Throws EMISCONFIGURED if it is newer than this version's. */
export function assertFormat(meta: Table, directory: string): void {
  const found = read(meta, formatKey)
  // Older ones are brought up to this one (`migrate.ts`).
  if (found === undefined || (typeof found === 'number' && found <= format)) return
  throw new TailraceError(
    'EMISCONFIGURED',
    `the store in ${directory} has format ${String(found)}, this version knows ${format}: use the version that made it`,
  )
}

/** Reads the identity of a store. Adds to `writes` the changes to be made durable before the store
 *  is used: those of a new store, a copy, or an older format. REQUIRES: the caller has the lock.
 *  Throws EBUSY (a process of a version without the lock has the store open), ECORRUPT. */
export function identify(
  tables: Pick<Tables, 'meta' | 'namespaces'>,
  files: StoreFiles,
  options: {
    readonly environment: Environment
    readonly directory: string
    readonly writes: Writes
  },
): Identity {
  const { meta } = tables
  const { environment, directory, writes } = options
  const known = readText(meta, storeIdKey)
  const recorded = readFiles(meta)
  const copied = known !== undefined && recorded !== undefined && !areSame(recorded, files)
  const holder = meta.get(ownerKey)
  if (holder) {
    const owner = parseOldOwner(holder)
    if (!copied && owner.pid !== process.pid && isAlive(owner)) throw heldBy(directory, owner.pid)
    writes.remove(meta, ownerKey)
  }
  if (known !== undefined && !copied) {
    if (!recorded) writes.put(meta, filesKey, encodeFiles(files))
    return { storeId: known, formerId: readText(meta, formerIdKey), fresh: false }
  }
  const storeId = environment.id()
  writes.put(meta, formatKey, encode(format))
  writes.put(meta, storeIdKey, encode(storeId))
  writes.put(meta, filesKey, encodeFiles(files))
  if (known === undefined) return { storeId, formerId: undefined, fresh: true }
  writes.put(meta, formerIdKey, encode(known))
  renewIncarnations(tables.namespaces, storeId, writes)
  return { storeId, formerId: known, fresh: false }
}

/** Gives each namespace of a copy the incarnation `LIFE.COPY`. */
function renewIncarnations(namespaces: Table, storeId: string, writes: Writes): void {
  for (const key of [...namespaces.keys({})]) {
    if (parseDeadKey(key) !== undefined) continue
    const value = namespaces.get(key)
    if (!value) continue
    const stored = parseNamespace(key.toString(), value)
    const incarnation = `${lifeOf(stored.namespace.incarnation)}.${storeId}`
    const namespace = { ...stored.namespace, incarnation }
    writes.put(namespaces, Buffer.from(key), encodeNamespace({ ...stored, namespace }))
  }
}

function areSame(a: StoreFiles, b: StoreFiles): boolean {
  return isSameFile(a.directory, b.directory) && isSameFile(a.data, b.data)
}

function encodeFiles({ directory, data }: StoreFiles): Buffer {
  return encode([fieldsOf(directory), fieldsOf(data)])
}

function fieldsOf({ device, inode, birth, generation }: FileIdentity): Plain {
  return [device, inode, birth ?? null, generation ?? null]
}

function readFiles(meta: Table): StoreFiles | undefined {
  const fields = read(meta, filesKey)
  if (fields === undefined) return undefined
  if (!Array.isArray(fields)) throw corrupt('a stored record of files')
  const [directory, data] = fields.map(parseFields)
  if (!directory || !data) throw corrupt('a stored record of files')
  return { directory, data }
}

function parseFields(fields: unknown): FileIdentity {
  if (!Array.isArray(fields)) throw corrupt('a stored record of files')
  const [device, inode, birth, generation] = fields as readonly unknown[]
  if (typeof device !== 'string' || typeof inode !== 'string')
    throw corrupt('a stored record of files')
  return {
    device,
    inode,
    ...(typeof birth === 'string' ? { birth } : {}),
    ...(typeof generation === 'string' ? { generation } : {}),
  }
}

function readText(table: Table, key: Uint8Array): string | undefined {
  const value = read(table, key)
  return typeof value === 'string' ? value : undefined
}

/** Reads a stored msgpack value, undefined where it is missing. */
function read(table: Table, key: Uint8Array): unknown {
  const value = table.get(key)
  return value && decode(value)
}
