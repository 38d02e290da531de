/** The terminal of a job. The server holds its master; the job has its slave as stdin, stdout and
 *  stderr. See rfc/11, rule 6.
 *  Invariant: every byte that the job wrote before its end is read. The server never blocks on a
 *  job that does not read its stdin. libuv takes a terminal that was hung up for ended after one
 *  read that did not fill its buffer, and drops the rest. So this file holds the slave open, too,
 *  until all was read. libuv's writes to a master block. So a `cat` writes. */

import type { ChildProcess } from 'node:child_process'
import { closeSync, readSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { ReadStream } from 'node:tty'
import {
  isReadable,
  openTerminal,
  resizeTerminal,
  type TerminalEnds,
  type TerminalSize,
} from '../base/posix.js'
import { spawnAlone } from '../base/spawn.js'

/** The size of one read, in bytes. The system gives less at a time. */
const readSize = 64 * 1024
/** The largest rest of a job's output that is read after its end, in bytes. The system holds some
 *  640 KiB; more comes from other processes that still write. */
const restSizeMax = 1024 * 1024
/** The character Ctrl-D, which a terminal turns into an end of file for its reader. */
const endOfFile = '\x04'

export class Terminal {
  /** Output of the job. */
  readonly output: ReadStream
  readonly #ends: TerminalEnds
  #writer: ChildProcess | undefined
  #closed = false

  /** Opens a terminal. Returns undefined if the system has none. Throws what node:fs throws. */
  static open(size: TerminalSize): Terminal | undefined {
    const ends = openTerminal(size)
    return ends && new Terminal(ends)
  }

  private constructor(ends: TerminalEnds) {
    this.#ends = ends
    this.output = new ReadStream(ends.master)
  }

  /** The descriptor for the `stdio` of the child. */
  get slave(): number {
    return this.#ends.slave
  }

  /** Ends the input: the job reads an end of file. REQUIRES: nothing was written to it yet. */
  endInput(): void {
    writeSync(this.#ends.master, endOfFile)
  }

  /** Opens the input of the terminal. Its end is an end of file for the job. `cat` is the path of a
   *  program that copies its stdin. Call it once. */
  openInput(cat: string): Writable {
    const stdio = ['pipe', this.#ends.master, 'ignore'] as const
    const writer = spawnAlone(cat, [], { detached: true, env: {}, stdio: [...stdio] })
    this.#writer = writer
    const { stdin } = writer
    // Any failure here means that nobody reads the input any more.
    const input = new Writable({
      write: (chunk, _encoding, done) => void stdin?.write(chunk, done),
      final: (done) => void stdin?.end(endOfFile, done),
    })
    const lost = () => input.destroy()
    writer.on('error', lost).on('exit', () => input.writableFinished || lost())
    stdin?.on('error', lost)
    return input
  }

  /** Sets the size of the terminal. */
  resize(size: TerminalSize): void {
    if (!this.#closed) resizeTerminal(this.#ends.master, size)
  }

  /** Yields the output that was not read yet. REQUIRES: `output` is paused, and the job has
   *  ended. */
  *rest(): Generator<Uint8Array, void, undefined> {
    for (let size = 0; size < restSizeMax; ) {
      const chunk = this.#next()
      if (!chunk || chunk.length === 0) return
      size += chunk.length
      yield chunk
    }
  }

  /** Returns the next bytes. A paused stream still reads ahead between two steps of `rest`; its
   *  bytes come before those that this file reads. */
  #next(): Uint8Array | undefined {
    const ahead: Uint8Array | null = this.output.read()
    if (ahead) return ahead
    return isReadable(this.#ends.master) ? this.#read() : undefined
  }

  /** Reads bytes. Returns none if the terminal was hung up (vhangup(2)). REQUIRES: it is
   *  readable. */
  #read(): Uint8Array {
    const buffer = Buffer.allocUnsafe(readSize)
    try {
      return buffer.subarray(0, readSync(this.#ends.master, buffer))
    } catch {
      return buffer.subarray(0, 0)
    }
  }

  /** Closes the terminal. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#writer?.kill('SIGKILL')
    this.output.destroy()
    closeSync(this.#ends.slave)
  }
}
