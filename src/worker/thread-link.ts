/** Links to workers that are threads of this process. See rfc/25, rules 7 and 8.
 *  Invariant: decisions about calls are made in memory that both threads share. */

import { extname } from 'node:path'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import { deferred } from '../base/deferred.js'
import { reasonOf } from '../error.js'
import type { Envelope } from './batches.js'
import { decide, newDecisions } from './decisions.js'
import type { LinkPorts, ProgramData, WorkerLink } from './link.js'

/** Data for a worker that is a thread. */
export type ThreadProgramData = ProgramData & { readonly decisions: Int32Array }

/** Starts a worker thread. */
export function threadLink(data: ProgramData, ports: LinkPorts): WorkerLink {
  return new ThreadLink(data, ports)
}

class ThreadLink implements WorkerLink {
  readonly kind = 'thread'
  readonly pid = process.pid
  readonly gone: Promise<void>
  readonly #worker: Worker
  readonly #decisions = newDecisions()
  readonly #ports: LinkPorts

  constructor(data: ProgramData, ports: LinkPorts) {
    this.#ports = ports
    const program = new URL(`./program${extname(import.meta.url)}`, import.meta.url)
    const workerData: ThreadProgramData = { ...data, decisions: this.#decisions }
    const worker = new Worker(program, { workerData, stdout: true, name: 'tailrace worker' })
    this.#worker = worker
    worker.unref()
    // Functions print to stderr of the scheduler, whose stdout is for the results of its program.
    worker.stdout.on('data', (chunk: Buffer) => process.stderr.write(chunk))
    worker.on('message', ports.received)
    const gone = deferred<void>()
    this.gone = gone.promise
    let why: string | undefined
    worker.on('error', (error: unknown) => {
      why = `it threw ${reasonOf(error)}`
      process.stderr.write(`${inspect(error)}\n`)
    })
    worker.once('exit', (code) => {
      ports.ended(why ?? `it ended with code ${code}`)
      gone.resolve()
    })
  }

  send(batch: readonly Envelope[]): void {
    this.#worker.postMessage(batch)
  }

  takeBack(seqs: readonly number[]): void {
    const took = seqs.filter((seq) => decide(this.#decisions, seq, 'take'))
    // The answer comes later, as that of a process does.
    queueMicrotask(() => this.#ports.tookBack(took))
  }

  kill(): void {
    void this.#worker.terminate() // it never rejects
  }
}
