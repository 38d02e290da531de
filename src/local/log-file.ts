/** `server.log`: what a background server writes, and what it says as it crashes. Two files, the older one is
 *  `server.log.1`. See rfc/13, rule 26.
 *  Invariant: descriptors 1 and 2 of the server are the newest file, so that what Node, V8 or a library writes there
 *  by itself lands in it. Whoever moves a file aside holds its lock and has seen that it stands at its name still, so
 *  that of several processes one does. Nothing here throws: a log that cannot be written stops no server. */

import {
  closeSync,
  fstatSync,
  openSync,
  renameSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs'
import { openLocked, replaceDescriptor } from '../base/posix.js'

/** Bytes of both files together. */
export const logSizeMax = 8 * 1024 * 1024
/** Room that is left at the end of a file for what a crash writes, or a start that fails. */
export const crashRoom = 64 * 1024
const fileSizeMax = logSizeMax / 2

const standardOutput = 1
const standardError = 2

/** Opens the log for a server that is started; undefined where it cannot be written. The caller closes it. */
export function openLog(path: string): number | undefined {
  try {
    rotate(path, 0)
    return openSync(path, 'a', 0o600)
  } catch {
    return undefined
  }
}

/** The log of this process: once it is made, descriptors 1 and 2 are the log. */
export class LogFile {
  readonly #path: string
  /** Lines that were not written, since one was. */
  #lost = 0
  /** A write ended in the middle of a line. */
  #isMidLine = false

  constructor(path: string) {
    this.#path = path
    this.#prepare(0)
  }

  /** A line without its end. */
  write(line: string): void {
    const lost = this.#lost > 0 ? `${this.#lost} lines could not be written here\n` : ''
    const bytes = Buffer.from(`${this.#isMidLine ? '\n' : ''}${lost}${line}\n`)
    this.#prepare(bytes.length)
    let written = 0
    try {
      while (written < bytes.length) written += writeSync(standardError, bytes, written)
      this.#isMidLine = false
      this.#lost = 0
    } catch {
      if (written > 0) this.#isMidLine = true
      this.#lost++
    }
  }

  /** Sees to it that standard error is the file at the log's name, and has room for `size` bytes. */
  #prepare(size: number): void {
    try {
      const now = fstatSync(standardError)
      const there = statSync(this.#path, { throwIfNoEntry: false })
      const hasRoom = now.size + size <= fileSizeMax - crashRoom
      if (there && isSame(now, there) && hasRoom) return
      rotate(this.#path, size)
      const file = openSync(this.#path, 'a', 0o600)
      try {
        replaceDescriptor(standardOutput, file)
        replaceDescriptor(standardError, file)
      } finally {
        closeSync(file)
      }
    } catch {
      // The line goes where the last one went.
    }
  }
}

/** Moves the file aside if it has no room for `size` bytes more, unless another process does just now. */
function rotate(path: string, size: number): void {
  const there = statSync(path, { throwIfNoEntry: false })
  if (!there || there.size + size <= fileSizeMax - crashRoom) return
  const file = openLocked(path)
  if (file === undefined) return
  try {
    const held = fstatSync(file)
    // Another may have moved it between our look and our lock: then what stands there is new.
    if (held.size + size > fileSizeMax - crashRoom && isSame(held, statSync(path))) {
      renameSync(path, `${path}.1`)
    }
  } finally {
    closeSync(file)
  }
}

function isSame(a: Stats, b: Stats): boolean {
  return a.dev === b.dev && a.ino === b.ino
}
