/** The log of a server: `server.log` of one in the background, with the messages of a crash, or a file that
 *  its options name. The file before it is `server.log.1`. See rfc/13, rule 26, and rfc/29, rule 10.
 *  Invariant: descriptors 1 and 2 of a server in the background are the newest file, so that messages of
 *  Node, V8 or a library land in it. A process renames the file only while it holds the file's lock and sees
 *  the file at its name, so that only one of several processes does. Nothing here throws: a log
 *  that cannot be written stops no server. */

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

/** The levels of lines, the most important one first. */
export const logLevels = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]
export const logLevelDefault = 'info' satisfies LogLevel

/** The forms of lines: for people, or one JSON object each. */
export const logFormats = ['text', 'json'] as const
export type LogFormat = (typeof logFormats)[number]

/** The largest size of both files together, in bytes. */
export const logSizeMax = 8 * 1024 * 1024
/** The smallest bound that an option may set, in bytes. */
export const logSizeMin = 512 * 1024
/** The room that is left at the end of a file for the messages of a crash or a failed start, in
 *  bytes. */
export const crashRoom = 64 * 1024
const standardOutput = 1
const standardError = 2

/** Opens the log for a server that is about to start, and returns its descriptor, which the caller
 *  closes. Returns undefined if the log cannot be written. */
export function openLog(path: string): number | undefined {
  try {
    rotate(path, 0, logSizeMax / 2)
    return openSync(path, 'a', 0o600)
  } catch {
    return undefined
  }
}

type LogFileOptions = {
  /** The largest size of both files together, in bytes: at least `logSizeMin`. Default `logSizeMax`. */
  readonly sizeMax?: number
  /** True if descriptors 1 and 2 of the process stay what they are. Default: they become the log. */
  readonly apart?: boolean
}

/** The log of this process. */
export class LogFile {
  readonly #path: string
  readonly #fileSizeMax: number
  /** The descriptor of the newest file. */
  #file: number | undefined
  readonly #isApart: boolean
  /** The number of lines that could not be written since the last one that was. */
  #lost = 0
  /** True if the last write ended in the middle of a line. */
  #isMidLine = false

  /** Opens the log. A file that cannot be opened throws only if it is `apart`: what node:fs throws. */
  constructor(path: string, { sizeMax = logSizeMax, apart = false }: LogFileOptions = {}) {
    this.#path = path
    this.#fileSizeMax = sizeMax / 2
    if (apart) this.#file = openSync(path, 'a', 0o600)
    this.#isApart = apart
    this.#prepare(0)
  }

  get #descriptor(): number {
    return this.#file ?? standardError
  }

  /** Writes a line, which is given without its newline. */
  write(line: string): void {
    const lost = this.#lost > 0 ? `${this.#lost} lines could not be written here\n` : ''
    const bytes = Buffer.from(`${this.#isMidLine ? '\n' : ''}${lost}${line}\n`)
    this.#prepare(bytes.length)
    let written = 0
    try {
      while (written < bytes.length) written += writeSync(this.#descriptor, bytes, written)
      this.#isMidLine = false
      this.#lost = 0
    } catch {
      if (written > 0) this.#isMidLine = true
      this.#lost++
    }
  }

  /** Makes the file at the log's name the one that is written, with room for `size` bytes. */
  #prepare(size: number): void {
    try {
      const now = fstatSync(this.#descriptor)
      const there = statSync(this.#path, { throwIfNoEntry: false })
      const hasRoom = now.size + size <= this.#fileSizeMax - crashRoom
      if (there && isSame(now, there) && hasRoom) return
      rotate(this.#path, size, this.#fileSizeMax)
      this.#take(openSync(this.#path, 'a', 0o600))
    } catch {
      // The line then goes to the same file as the last one.
    }
  }

  /** Writes to a file from now on. */
  #take(file: number): void {
    if (this.#isApart) {
      closeSync(this.#descriptor)
      this.#file = file
      return
    }
    try {
      replaceDescriptor(standardOutput, file)
      replaceDescriptor(standardError, file)
    } finally {
      closeSync(file)
    }
  }
}

/** Renames the log if it has no room for `size` bytes more, unless another process is doing so. */
function rotate(path: string, size: number, fileSizeMax: number): void {
  const there = statSync(path, { throwIfNoEntry: false })
  if (!there || there.size + size <= fileSizeMax - crashRoom) return
  const file = openLocked(path)
  if (file === undefined) return
  try {
    const held = fstatSync(file)
    // Another process may have renamed the file before we got the lock. Then there is a new file.
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
