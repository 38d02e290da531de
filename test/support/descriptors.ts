/** Open files of this process that begin to fail: their descriptors become those of another file, as
 *  `/dev/full`, or are read-only. Linux only. */

import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** Lets all descriptors of a file be those of `target`, opened with `flags`. `synced`: only those whose
 *  writes are on the disk when they return. Throws where there is none. */
export function replaceDescriptors(
  path: string,
  target: string,
  { flags, synced = false }: { readonly flags: number; readonly synced?: boolean },
): void {
  let count = 0
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name)
    if (linkOf(fd) !== path || (synced && !isSynced(fd))) continue
    closeSync(fd)
    openAt(fd, target, flags)
    count++
  }
  if (count === 0) throw new Error(`${path} is not open`)
}

/** Opens a file with a descriptor that is free. The system gives the lowest one. */
function openAt(fd: number, target: string, flags: number): void {
  const lower: number[] = []
  let opened = openSync(target, flags)
  for (; opened < fd; opened = openSync(target, flags)) lower.push(opened)
  for (const other of lower) closeSync(other)
  if (opened !== fd) throw new Error(`another file was opened with descriptor ${fd}`)
}

function linkOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return '' // the descriptor that listed the others
  }
}

function isSynced(fd: number): boolean {
  const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
  const [, flags = ''] = /^flags:\s*(\d+)$/m.exec(info) ?? []
  return (Number.parseInt(flags, 8) & constants.O_DSYNC) !== 0
}
