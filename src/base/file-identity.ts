/** Which file or directory of this machine is meant, whatever its path: a rename keeps the identity, a copy
 *  has another. See rfc/4, rfc/13.
 *  Invariant: two files that exist at once are never taken for one. */

import { type BigIntStats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'

export type FileIdentity = {
  /** May be another after the machine was started anew. */
  readonly device: string
  readonly inode: string
  /** When the file was made, ns since 1970; undefined where the file system does not say. */
  readonly birth?: string
  /** Generation of the inode (see `generationOf`); undefined where nobody asked, or the file system does not say. */
  readonly generation?: string
}

/** Throws what node:fs does. `generation` is the caller's to know. */
export async function fileIdentity(path: string, generation?: string): Promise<FileIdentity> {
  const { dev, ino, birthtimeNs } = await stat(path, { bigint: true })
  return {
    device: String(dev),
    inode: String(ino),
    ...(birthtimeNs > 0n && tellsBirth() ? { birth: String(birthtimeNs) } : {}),
    ...(generation === undefined ? {} : { generation }),
  }
}

/** Compares what both know. Inode numbers are used again, for the copy that follows a removed original
 *  too, so generation or birth must be the same as well. Only where both lack these the device decides,
 *  since its number may change with a start of the machine. */
export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  if (a.inode !== b.inode) return false
  const generations = a.generation !== undefined && b.generation !== undefined
  const births = a.birth !== undefined && b.birth !== undefined
  if (generations && a.generation !== b.generation) return false
  if (births && a.birth !== b.birth) return false
  return generations || births || a.device === b.device
}

/** Whether Node's `birthtime` is one: where the system has no statx it is the time of the last change, of
 *  every file. Node's own program was changed (its mode, its name) after it was written. */
function tellsBirth(): boolean {
  const { birthtimeNs, ctimeNs }: BigIntStats = statSync(process.execPath, { bigint: true })
  return birthtimeNs !== ctimeNs
}

/** From JSON. Undefined where it is no identity. */
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
