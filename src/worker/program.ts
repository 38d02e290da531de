/** The program of a worker, process or thread: gets calls, runs them in their order, and answers. See
 *  rfc/25, rules 3, 8, 11 and 12.
 *  Invariant: it ends when its link does. A call that somebody took back is not begun. */

import { once } from 'node:events'
import { Socket } from 'node:net'
import { extname } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { toTailraceError } from '../error.js'
import { type Print, streams } from '../eventlog/stdio.js'
import { Callee, type TakenCall } from '../flow/callee.js'
import { BatchReader, type Envelope, writeBatch } from './batches.js'
import { decide, newDecisions } from './decisions.js'
import { markWorker, type ProgramData } from './link.js'
import { Printing } from './printing.js'
import { type GuardData, guardFd, messagesFd } from './process-link.js'
import { type FromWorker, parseToWorker, type ToWorker } from './protocol.js'
import { sentErrorOf, thrownOf } from './sent-error.js'
import type { ThreadProgramData } from './thread-link.js'

/** The time for which calls may run before the event loop turns, in ms. */
const turnMs = 5

/** The way to the scheduler. */
type Road = {
  readonly decisions: Int32Array
  readonly send: (batch: readonly Envelope[]) => void
  /** Ends the worker, once all is sent. */
  readonly leave: () => void
  /** Resolves when the worker may work; rejects if it cannot. */
  readonly isReady: Promise<unknown>
}

/** The output of the one call that runs, in a worker with one slot. */
const printingNow: { call: Printing | undefined } = { call: undefined }

/** Copies what this process, or thread, prints to its streams to the output of the call that runs. */
function copyStreams(): void {
  for (const stream of streams) {
    const from = process[stream]
    const write = from.write.bind(from) as (...args: readonly unknown[]) => boolean
    from.write = (chunk: string | Uint8Array, ...more: readonly unknown[]): boolean => {
      const [encoding] = more
      const coding = typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8'
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, coding) : chunk
      printingNow.call?.add(stream, bytes)
      return write(chunk, ...more)
    }
  }
}

type Waiting = { readonly seq: number; readonly taken: TakenCall }

/** Calls that were sent, and answers. Mutable; owned by this program. */
class Work {
  readonly #callee: Callee
  readonly #road: Road
  readonly #slots: number
  readonly #queue: Waiting[] = []
  readonly #running = new Map<number, AbortController>()
  #turnedAt = 0
  #isPumping = false
  #isLeaving = false

  constructor(callee: Callee, road: Road, slots: number) {
    this.#callee = callee
    this.#road = road
    this.#slots = slots
  }

  /** Takes a batch of messages. */
  take(batch: readonly Envelope[]): void {
    this.#turnedAt = performance.now()
    for (const envelope of batch) this.#takeOne(parseToWorker(envelope), envelope.parts)
    void this.#pump() // it never rejects
  }

  #takeOne(message: ToWorker, parts: readonly Uint8Array[]): void {
    switch (message.type) {
      case 'call': {
        const { seq, task, keys, drop } = message
        for (const [at, key] of keys.entries())
          this.#callee.keep(key, parts[at] ?? new Uint8Array())
        this.#queue.push({ seq, taken: this.#callee.take(task) })
        for (const key of drop) this.#callee.drop(key)
        return
      }
      case 'abort':
        this.#running.get(message.seq)?.abort(thrownOf(message.reason))
        return
      case 'leave':
        this.#isLeaving = true
        return
      default:
        message satisfies never
    }
  }

  /** Begins calls while there are slots for them. */
  async #pump(): Promise<void> {
    if (this.#isPumping) return
    this.#isPumping = true
    for (;;) {
      const next = this.#running.size < this.#slots ? this.#queue[0] : undefined
      if (!next) break
      // If a function blocked this thread, messages have come meanwhile: they are read before the next
      // call begins.
      if (performance.now() - this.#turnedAt > turnMs) {
        await setImmediate()
        this.#turnedAt = performance.now()
        continue
      }
      this.#queue.shift()
      if (!decide(this.#road.decisions, next.seq, 'begin')) this.#callee.release(next.taken)
      else if (this.#slots === 1) await this.#run(next)
      else void this.#run(next).then(() => this.#pump()) // it never rejects
    }
    this.#isPumping = false
    if (this.#isLeaving && this.#running.size === 0 && this.#queue.length === 0) this.#road.leave()
  }

  async #run({ seq, taken }: Waiting): Promise<void> {
    const controller = new AbortController()
    this.#running.set(seq, controller)
    const printing = new Printing((stream, bytes) => {
      this.#road.send([{ body: { type: 'printed', seq, stream }, parts: [bytes] }])
    })
    // With one slot, what the process prints meanwhile is printed by this function.
    if (this.#slots === 1 && taken.task.keepsOutput) printingNow.call = printing
    try {
      const target = await this.#callee.find(taken.task).catch((error: unknown) => {
        this.#answer({ type: 'refused', seq, error: sentErrorOf(error) }, [])
      })
      if (!target) return
      const print: Print = (stream, bytes) => printing.add(stream, bytes)
      const ports = { signal: controller.signal, print }
      const { bytes, times } = await this.#callee.run(taken, target, ports)
      printing.flush()
      this.#answer({ type: 'done', seq, times }, [bytes])
    } catch (error) {
      printing.flush()
      this.#answer({ type: 'failed', seq, error: sentErrorOf(error) }, [])
    } finally {
      printingNow.call = undefined
      this.#running.delete(seq)
      this.#callee.release(taken)
    }
  }

  /** Answers at once: the function that is called next may take long. */
  #answer(body: FromWorker, parts: readonly Uint8Array[]): void {
    this.#road.send([{ body, parts }])
  }
}

/** Opens the road of a process, which ends with its link. */
function processRoad({ graceMs }: ProgramData, received: Received): Road {
  // The scheduler ends a run that a terminal interrupts.
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
  const decisions = newDecisions()
  const extension = extname(import.meta.url)
  const guardData: GuardData = { fd: guardFd, decisions, graceMs }
  // No preloads of the program run in the thread. From the sources it needs what loads TypeScript.
  const loading = extension === '.ts' ? {} : { execArgv: [] }
  const guard = new Worker(new URL(`./guard${extension}`, import.meta.url), {
    ...{ ...loading, workerData: guardData, name: 'tailrace guard' },
  })
  const isReady = once(guard, 'message')
  isReady.catch(() => {}) // the worker says so, once it has imported the modules
  guard.unref()
  const messages = new Socket({ fd: messagesFd })
  const reader = new BatchReader(received)
  messages.on('data', (chunk: Buffer) => reader.take(chunk))
  messages.on('error', () => {}) // a close follows
  messages.once('close', () => process.exit())
  return {
    ...{ decisions, isReady },
    send: (batch) => writeBatch(messages, batch),
    // The output of functions is written before the process ends.
    leave: () =>
      process.stdout.write('', () =>
        process.stderr.write('', () => messages.end(() => process.exit())),
      ),
  }
}

/** Opens the road of a thread. */
function threadRoad({ decisions }: ThreadProgramData, received: Received): Road {
  const port = parentPort
  if (!port) throw new Error('a worker thread has a port')
  port.on('message', received)
  return {
    ...{ decisions, isReady: Promise.resolve() },
    send: (batch) => port.postMessage(batch, buffersOf(batch)),
    leave: () => port.close(),
  }
}

type Received = (batch: readonly Envelope[]) => void

/** Returns the memory of results, which is moved and not copied: nobody needs it here any more. */
function buffersOf(batch: readonly Envelope[]): ArrayBuffer[] {
  return batch.flatMap(({ parts }) => parts.map(({ buffer }) => buffer as ArrayBuffer))
}

async function main(): Promise<void> {
  const data: ProgramData = isMainThread ? JSON.parse(process.argv[2] ?? '') : workerData
  const early: Envelope[] = []
  const into: { work: Work | undefined } = { work: undefined }
  const received: Received = (batch) => {
    if (into.work) into.work.take(batch)
    else early.push(...batch)
  }
  const road = isMainThread
    ? processRoad(data, received)
    : threadRoad(workerData as ThreadProgramData, received)
  markWorker()
  process.argv.splice(1, process.argv.length, ...data.argv)
  copyStreams()
  const say = (body: FromWorker) => road.send([{ body, parts: [] }])
  try {
    const callee = await Callee.of(data.modules)
    const code = data.tellsCode ? { code: await callee.readCode() } : {}
    await road.isReady
    into.work = new Work(callee, road, data.slots)
    say({ type: 'ready', ...code })
    into.work.take(early)
  } catch (error) {
    say({ type: 'unfit', error: sentErrorOf(toTailraceError(error)) })
    road.leave()
  }
}

await main()
