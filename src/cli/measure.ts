/** Measurement of the main job: a ripple test runs as a job, is followed out of the store and
 *  compared byte for byte. `tailrace demo` and the benchmark use it. See rfc/11, rfc/7.
 *  Invariant: a byte that differs, an append that comes twice or not at all, or an end that is not
 *  the seal is an error, never a number. */

import { readFileSync } from 'node:fs'
import { jobsNamespace } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import type { AppendEvent } from '../api/watch.js'
import { TailraceError } from '../error.js'
import { decodeOutput } from '../eventlog/stdio.js'
import { outputKey } from '../job/keys.js'
import { mainFile } from '../local/installation.js'
import { Ripple } from './ripple.js'

/** The time between two readings of the server's memory, in ms. */
const sampleMs = 100

export type RippleShape = { readonly length: number; readonly count: number }

export type Passage = {
  readonly bytes: number
  /** The number of appends that the watch delivered, each once; it is the count of the key. */
  readonly appends: number
  readonly ms: number
}

export type OnProgress = (bytes: number, appends: number) => Promise<void>

/** Submits `lptest LENGTH COUNT` and follows it to its end. The time is that from the submit to the
 *  last byte. */
export async function measureLive(
  store: Store,
  shape: RippleShape,
  onProgress?: OnProgress,
): Promise<Passage & { readonly id: string }> {
  const started = performance.now()
  const { id } = await store.jobs.submit({
    command: [process.execPath, mainFile, 'lptest', String(shape.length), String(shape.count)],
    cwd: process.cwd(),
    env: {},
  })
  const passage = await follow(store, id, shape, started, onProgress)
  const view = await store.jobs.wait(id)
  if (view.status !== 0)
    throw wrong(`the job ended with ${view.status ?? view.signal ?? 'nothing'}`)
  return { ...passage, id }
}

/** Follows a job that has finished, from its first byte. */
export function measureReplay(
  store: Store,
  id: string,
  shape: RippleShape,
  onProgress?: OnProgress,
): Promise<Passage> {
  return follow(store, id, shape, performance.now(), onProgress)
}

async function follow(
  store: Store,
  id: string,
  shape: RippleShape,
  started: number,
  onProgress: OnProgress | undefined,
): Promise<Passage> {
  const ripple = new Ripple(shape.length, shape.count)
  const output = store.watch(outputKey(id), {
    mode: 'append',
    namespace: jobsNamespace,
    waitCreate: true,
    lend: true,
  })
  let bytes = 0
  let appends = 0
  let sealed = false
  for await (const event of output) {
    if (event.type === 'end') sealed = true
    if (event.type !== 'append') continue
    if (event.index !== appends) throw wrong(`append ${event.index} came in place of ${appends}`)
    appends++
    bytes += compare(ripple, bytes, event)
    await onProgress?.(bytes, appends)
  }
  const ms = performance.now() - started
  if (!sealed) throw wrong('the output ended without its seal')
  if (bytes !== ripple.size) throw wrong(`${bytes} bytes came, not ${ripple.size}`)
  const stat = await store.stat(outputKey(id), { namespace: jobsNamespace })
  if (stat?.count !== appends) throw wrong(`${appends} appends came, the key has ${stat?.count}`)
  return { bytes, appends, ms }
}

/** Returns the number of bytes of stdout in one append. Throws where one of them is not what lptest
 *  prints. */
function compare(ripple: Ripple, start: number, event: AppendEvent): number {
  let bytes = 0
  for (const part of decodeOutput(event.data)) {
    if (part.type !== 'data') continue
    if (part.stream === 'stderr') throw wrong(`lptest said: ${Buffer.from(part.data)}`)
    const offset = start + bytes
    if (part.offsets.stdout !== offset) {
      throw wrong(`append ${event.index} is of offset ${part.offsets.stdout}, not ${offset}`)
    }
    const differs = ripple.differs(offset, part.data)
    if (differs !== undefined) throw wrong(`byte ${differs} is not what lptest prints`)
    bytes += part.data.length
  }
  return bytes
}

/** Finds the largest anonymous memory of a process, in bytes. It reads it every 100 ms until
 *  `end`. */
export class MemoryPeak {
  readonly #pid: number
  readonly #timer: NodeJS.Timeout
  #peak: number | undefined

  constructor(pid: number) {
    this.#pid = pid
    this.#sample()
    this.#timer = setInterval(() => this.#sample(), sampleMs)
    this.#timer.unref()
  }

  /** Ends the readings and returns the largest one; undefined where the system has no /proc. */
  end(): number | undefined {
    clearInterval(this.#timer)
    this.#sample()
    return this.#peak
  }

  #sample(): void {
    try {
      const status = readFileSync(`/proc/${this.#pid}/status`, 'utf8')
      const kibibytes = /^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]
      if (kibibytes) this.#peak = Math.max(this.#peak ?? 0, Number(kibibytes) * 1024)
    } catch {
      // There is no /proc, or the process has gone: the largest reading so far stands.
    }
  }
}

function wrong(message: string): TailraceError {
  return new TailraceError('ECORRUPT', `the demo failed: ${message}`)
}
