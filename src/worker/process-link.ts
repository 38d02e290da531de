/** Links to workers that are processes: a socket for messages, and one for the guard of the process.
 *  See rfc/25, rules 7, 8 and 11.
 *  Invariant: a process whose socket is closed is killed, so that no worker works for nobody. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deferred } from '../base/deferred.js'
import { spawnAlone } from '../base/spawn.js'
import { startTimer } from '../base/timer.js'
import { reasonOf } from '../error.js'
import { BatchReader, type Envelope, writeBatch } from './batches.js'
import { hearLines } from './lines.js'
import type { LinkPorts, ProgramData, WorkerLink } from './link.js'

/** The time without a sign of life after which a process counts as dead, in ms. */
const silenceMsMax = 30_000
/** The time in which a process that was killed is gone, in ms. */
const goneMsMax = 1_000

/** The descriptors of a worker's sockets: messages, and its guard. */
export const [messagesFd, guardFd] = [3, 4]

/** Data for the thread that guards a worker process. */
export type GuardData = {
  readonly fd: number
  readonly decisions: Int32Array
  /** The time that the process has to end by itself, in ms. */
  readonly graceMs: number
}

/** Starts a worker process. */
export function processLink(data: ProgramData, ports: LinkPorts): WorkerLink {
  return new ProcessLink(data, ports)
}

class ProcessLink implements WorkerLink {
  readonly kind = 'process'
  readonly gone: Promise<void>
  readonly #child: ChildProcess
  readonly #messages: Socket
  readonly #guard: Socket
  #endSilence: () => void = () => {}
  #heard = 0

  constructor(data: ProgramData, ports: LinkPorts) {
    const extension = extname(import.meta.url)
    const program = fileURLToPath(new URL(`./program${extension}`, import.meta.url))
    const args = [...argumentsOf(process.execArgv), program, JSON.stringify(data)]
    // Functions print to stderr of the scheduler, whose stdout is for the results of its program.
    const child = spawnAlone(process.execPath, args, {
      stdio: ['ignore', 2, 2, 'pipe', 'pipe'],
    })
    this.#child = child
    this.#messages = child.stdio[messagesFd] as Socket
    this.#guard = child.stdio[guardFd] as Socket
    child.unref()
    for (const socket of [this.#messages, this.#guard]) {
      socket.unref()
      socket.on('error', () => {}) // a close follows
    }
    const reader = new BatchReader(ports.received)
    let wrong: string | undefined
    this.#messages.on('data', (chunk: Buffer) => {
      try {
        reader.take(chunk)
      } catch (error) {
        wrong = reasonOf(error)
        this.kill()
      }
    })
    this.#hear(ports)
    this.gone = this.#watch().then((why) => ports.ended(wrong ?? why))
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  send(batch: readonly Envelope[]): void {
    if (this.#messages.writable) writeBatch(this.#messages, batch)
  }

  takeBack(seqs: readonly number[]): void {
    if (this.#guard.writable) this.#guard.write(`${seqs.join(' ')}\n`)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** Waits for the end of the process, and returns the reason. */
  async #watch(): Promise<string> {
    const failed = once(this.#child, 'exit').then(
      ([code, signal]) => `it ended with ${signal ?? `code ${code}`}`,
      (error: unknown) => `it cannot be started: ${reasonOf(error)}`,
    )
    // All that it has sent is read before its socket closes.
    await once(this.#messages, 'close').catch(() => {})
    this.kill()
    this.#endSilence()
    this.#guard.destroy()
    const late = deferred<string>()
    const end = startTimer(goneMsMax, () => late.resolve('its link closed'))
    return Promise.race([failed, late.promise]).finally(end)
  }

  #hear({ tookBack }: LinkPorts): void {
    hearLines(this.#guard, (line) => {
      this.#heard++
      if (line !== 'beat') tookBack(line === '' ? [] : line.split(' ').map(Number))
    })
    this.#listen()
  }

  /** Kills the process if it is silent for too long. */
  #listen(): void {
    const heard = this.#heard
    this.#endSilence = startTimer(silenceMsMax, () => {
      // If this process itself stood still, signs of life have come meanwhile: they are read first.
      setImmediate(() => {
        if (this.#heard === heard) this.kill()
        else this.#listen()
      })
    })
  }
}

/** Returns the arguments of Node for a process like this one: without a program text, and without an
 *  inspector, whose port is taken. */
function argumentsOf(execArgv: readonly string[]): readonly string[] {
  const isText = (argument: string | undefined) =>
    argument !== undefined && /^(-[a-z]*[ep]|--eval|--print)$/.test(argument)
  return execArgv.filter(
    (argument, at) =>
      !isText(argument) &&
      !isText(execArgv[at - 1]) &&
      !/^(--inspect|--(eval|print|input-type)\b)/.test(argument),
  )
}
