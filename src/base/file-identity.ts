/** The identity of a file or directory of this machine: a rename keeps it, a copy has another one.
 *  See rfc/4, rfc/13.
 *  Invariant: two files that exist at the same time never compare as the same. */

import { type BigIntStats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'

/** The identity, as it is kept in records. */
export type FileIdentity = {
  /** The number of the device. It may change when the machine starts again. */
  readonly device: string
  readonly inode: string
  /** The time of creation, in ns since 1970; undefined where the file system does not know it. */
  readonly birth?: string
  /** The generation of the inode (see `generationOf`); undefined where nobody asked for it, or
   *  where the file system does not know it. */
  readonly generation?: string
}

/** Returns the identity of the file at `path`; the caller passes the generation if it knows it.
 *  Throws what node:fs throws. */
export async function fileIdentity(path: string, generation?: string): Promise<FileIdentity> {
  const { dev, ino, birthtimeNs } = await stat(path, { bigint: true })
  return {
    device: String(dev),
    inode: String(ino),
    ...(birthtimeNs > 0n && tellsBirth() ? { birth: String(birthtimeNs) } : {}),
    ...(generation === undefined ? {} : { generation }),
  }
}

/** True if both are the same file, judged by the fields that both have. The system uses an inode
 *  number again, perhaps for the copy that replaces a removed original, so generation and birth
 *  must be equal too. The device decides only where neither can be compared: its number may change
 *  when the machine starts again. */
export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  if (a.inode !== b.inode) return false
  const generations = a.generation !== undefined && b.generation !== undefined
  const births = a.birth !== undefined && b.birth !== undefined
  if (generations && a.generation !== b.generation) return false
  if (births && a.birth !== b.birth) return false
  return generations || births || a.device === b.device
}

/** True if Node's `birthtime` is the time of creation. Where the system has no statx(2), it is the
 *  time of the last change, for every file. Node's own program tells the two apart: it was changed
 *  (its mode, its name) after it was created. */
function tellsBirth(): boolean {
  const { birthtimeNs, ctimeNs }: BigIntStats = statSync(process.execPath, { bigint: true })
  return birthtimeNs !== ctimeNs
}

/** Returns the identity that a JSON value holds; undefined where it holds none. */
export function parseFileIdentity(input: unknown): FileIdentity | undefined {
  if (typeof input !== 'object' || input === null) return undefined
  const { device, inode, birth, generation } = input as Readonly<Record<string, unknown>>
  if (typeof device !== 'string' || typeof inode !== 'string') return undefined
  return {
    device,
    inode,
    ...(typeof birth === 'string' ? { birth } : {}),
    ...(typeof generation === 'string' ? { generation } : {}),
  }
}
