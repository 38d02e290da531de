/** A server as it is seen from outside: its anonymous memory, its open files, its time on the processor, and how
 *  long it takes to answer the simplest request. See siege.ts.
 *  Invariant: nothing of the server's own word is believed. */

import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import http from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

const memoryEveryMs = 100
const probeEveryMs = 20

export type Gauged = {
  /** Bytes: the most at once, and the last. */
  readonly memoryMax: number
  readonly memory: number
  readonly filesMax: number
  /** Of 1: a processor. */
  readonly load: number
  /** ms that a probe over the Unix socket waited at most. */
  readonly stallMax: number
}

export class Gauge {
  readonly #pid: number
  readonly #socketPath: string
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  #over = false
  #memory = 0
  #memoryMax = 0
  #filesMax = 0
  #stallMax = 0
  #probeSent: number | undefined
  #busy = 0
  #since = performance.now()
  #failure: string | undefined
  readonly #loops: readonly Promise<void>[]

  constructor(pid: number, socketPath: string) {
    this.#pid = pid
    this.#socketPath = socketPath
    this.#loops = [this.#sample(), this.#probe()]
  }

  /** What was seen since the last call. Throws when a probe has failed. */
  async take(): Promise<Gauged> {
    if (this.#failure !== undefined) throw new Error(`a probe failed: ${this.#failure}`)
    const busy = await busyMsOf(this.#pid)
    const now = performance.now()
    const pending = this.#probeSent === undefined ? 0 : now - this.#probeSent
    const gauged = {
      memoryMax: this.#memoryMax,
      memory: this.#memory,
      filesMax: this.#filesMax,
      load: (busy - this.#busy) / (now - this.#since),
      stallMax: Math.max(this.#stallMax, pending),
    }
    this.#memoryMax = 0
    this.#filesMax = 0
    this.#stallMax = 0
    this.#busy = busy
    this.#since = now
    return gauged
  }

  async end(): Promise<void> {
    this.#over = true
    await Promise.allSettled(this.#loops)
    this.#agent.destroy()
  }

  async #sample(): Promise<void> {
    while (!this.#over) {
      this.#memory = await anonymousMemoryOf(this.#pid)
      this.#memoryMax = Math.max(this.#memoryMax, this.#memory)
      const files = await readdir(`/proc/${this.#pid}/fd`).catch(() => [])
      this.#filesMax = Math.max(this.#filesMax, files.length)
      await pause(memoryEveryMs)
    }
  }

  async #probe(): Promise<void> {
    while (!this.#over) {
      this.#probeSent = performance.now()
      await this.#ask().catch((error) => {
        this.#failure ??= String(error)
      })
      this.#stallMax = Math.max(this.#stallMax, performance.now() - this.#probeSent)
      this.#probeSent = undefined
      await pause(probeEveryMs)
    }
  }

  async #ask(): Promise<void> {
    const options = { socketPath: this.#socketPath, path: '/healthz', agent: this.#agent }
    const request = http.get(options)
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    response.resume()
    await once(response, 'end')
  }
}

/** Bytes; 0 when the process has gone. */
async function anonymousMemoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1_024
}

/** ms of all its threads so far. A tick is 10 ms on Linux. */
async function busyMsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10
}
