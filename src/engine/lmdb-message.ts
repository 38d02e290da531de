/** Keeps lmdb 3.5.6 from ending the process when a write fails. Its `mdb_page_flush` (mdb.c) then
 *  formats a message of up to 150 bytes into a buffer of 100, and the process aborts at some later
 *  allocation. This file cuts the format of the message in the loaded library, in the memory of
 *  this process alone; the message then has at most 66 bytes. See rfc/4, rule 22.
 *  Invariant: it writes one byte, inside a string that it found whole and once, or nothing. Linux
 *  only: elsewhere, or where the kernel forbids it, everything stays as it is. */

import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'

const kept = 'Attempting to write page at position %u, size %u'
const format = Buffer.from(`${kept}, blocks %u, buffer sizes %i %i %i\0`)

/** Shortens the format, and returns true if it is short now. It may be called again. REQUIRES:
 *  lmdb is loaded. */
export function shortenWriteMessage(): boolean {
  try {
    const memory = openSync('/proc/self/mem', 'r+')
    try {
      return shorten(memory)
    } finally {
      closeSync(memory)
    }
  } catch {
    return false
  }
}

function shorten(memory: number): boolean {
  for (const { start, size } of constantsOfLibrary()) {
    const bytes = Buffer.alloc(size)
    if (readSync(memory, bytes, 0, size, start) !== size) continue
    if (bytes.includes(`${kept}\0`)) return true
    const at = bytes.indexOf(format)
    if (at < 0 || bytes.indexOf(format, at + 1) >= 0) continue
    writeSync(memory, Buffer.of(0), 0, 1, start + at + kept.length)
    return true
  }
  return false
}

/** Lists the mappings of the library's read-only data: addresses, and sizes in bytes. */
function constantsOfLibrary(): { readonly start: number; readonly size: number }[] {
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n')
  return maps.flatMap((line) => {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) r--p .*lmdb.*\.node$/.exec(line) ?? []
    if (!from || !to) return []
    const start = Number.parseInt(from, 16)
    return [{ start, size: Number.parseInt(to, 16) - start }]
  })
}
