/** The terminal of a job: the server holds its master, the job has its slave as stdin, stdout and stderr. See rfc/11.
 *  Invariant: every byte that the job wrote before its end is read; the server never waits for one that reads nothing.
 *  libuv takes a terminal that was hung up for ended after one read that did not fill its buffer, and drops the rest: so
 *  we hold the slave, too, until all was read. It can only block in writes to a master: so `cat` writes. */

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

/** Bytes of one read; the system gives less at a time. */
const readSize = 64 * 1024
/** Bytes that the system may hold of what a job wrote: 640 KiB, and some. More is of others, who write on. */
const restSizeMax = 1024 * 1024
/** Ctrl-D, which a terminal gives its reader as the end of file. */
const endOfFile = '\x04'

export class Terminal {
  /** Output of the job. */
  readonly output: ReadStream
  readonly #ends: TerminalEnds
  #writer: ChildProcess | undefined
  #closed = false

  /** Undefined where the system has none. Throws what node:fs does. */
  static open(size: TerminalSize): Terminal | undefined {
    const ends = openTerminal(size)
    return ends && new Terminal(ends)
  }

  private constructor(ends: TerminalEnds) {
    this.#ends = ends
    this.output = new ReadStream(ends.master)
  }

  /** For the child's `stdio`. */
  get slave(): number {
    return this.#ends.slave
  }

  /** Nobody will type: whoever reads finds the end of file. REQUIRES: nothing was typed yet. */
  endInput(): void {
    writeSync(this.#ends.master, endOfFile)
  }

  /** Opens the terminal's input; its end is the end of file. `cat`: a program that copies its stdin. Call it once. */
  openInput(cat: string): Writable {
    const stdio = ['pipe', this.#ends.master, 'ignore'] as const
    const writer = spawnAlone(cat, [], { detached: true, env: {}, stdio: [...stdio] })
    this.#writer = writer
    const { stdin } = writer
    // Whatever fails here, nobody reads any more.
    const input = new Writable({
      write: (chunk, _encoding, done) => void stdin?.write(chunk, done),
      final: (done) => void stdin?.end(endOfFile, done),
    })
    const lost = () => input.destroy()
    writer.on('error', lost).on('exit', () => input.writableFinished || lost())
    stdin?.on('error', lost)
    return input
  }

  resize(size: TerminalSize): void {
    if (!this.#closed) resizeTerminal(this.#ends.master, size)
  }

  /** Output that was not read yet. REQUIRES: `output` is paused, the job has ended. */
  *rest(): Generator<Uint8Array, void, undefined> {
    for (let size = 0; size < restSizeMax; ) {
      const chunk = this.#next()
      if (!chunk || chunk.length === 0) return
      size += chunk.length
      yield chunk
    }
  }

  /** A paused stream still reads ahead between two steps of `rest`: what it has stands before what we read. */
  #next(): Uint8Array | undefined {
    const ahead: Uint8Array | null = this.output.read()
    if (ahead) return ahead
    return isReadable(this.#ends.master) ? this.#read() : undefined
  }

  /** Empty where the terminal was hung up (vhangup(2)). REQUIRES: it is readable. */
  #read(): Uint8Array {
    const buffer = Buffer.allocUnsafe(readSize)
    try {
      return buffer.subarray(0, readSync(this.#ends.master, buffer))
    } catch {
      return buffer.subarray(0, 0)
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#writer?.kill('SIGKILL')
    this.output.destroy()
    closeSync(this.#ends.slave)
  }
}
