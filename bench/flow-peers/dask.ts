/** dask.distributed: a scheduler and worker processes, started by a program in Python, which gets the files
 *  of graphs and answers with times and results. A function is sent with each task; results stay in
 *  the memory of the workers until the client has them. */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { lastOf, modulus, sizeOfSlice } from '../flow-graphs.js'
import { found, program } from '../systems/fetched.js'
import { type FlowPeer, inTime, type MadeGraph } from './flow-peer.js'

/** The time to end in order before it is killed, in ms. */
const endMsMax = 10_000
/** The number of characters of its last words that an error quotes. */
const saidMax = 1_000
const script = fileURLToPath(new URL('dask-graphs.py', import.meta.url))

export const dask: FlowPeer = {
  id: 'dask',
  title: 'dask.distributed',
  durability: 'worker processes of Python with a thread for each slot; results in memory',
  keeps: false,
  found: () => found('dask'),

  with: async ({ directory, processes, slots }, use) => {
    await using scheduler = new DaskProcess([String(processes), String(slots)], directory)
    await inTime(scheduler.answer()) // it is ready
    let graphs = 0
    return await use(async (graph) => {
      const file = join(directory, `graph-${++graphs}.json`)
      const nodes = graph.map(({ sources, work, argument }) => [work, argument, sources])
      await writeFile(file, JSON.stringify({ nodes, last: lastOf(graph), modulus, sizeOfSlice }))
      return await inTime(scheduler.ask(file))
    })
  },
}

/** The program. Its scheduler and its workers are processes of its own, which end with it. */
class DaskProcess implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>
  readonly #kill = () => this.#child.kill('SIGKILL')
  #said = ''

  constructor(args: readonly string[], directory: string) {
    this.#child = spawn(program('dask-python'), [script, ...args], {
      cwd: directory,
      // It writes its settings to the home directory, and files of workers to /tmp, unless that is told.
      env: {
        ...process.env,
        DASK_CONFIG: join(directory, 'settings'),
        DASK_TEMPORARY_DIRECTORY: directory,
      },
    })
    this.#child.on('error', () => {}) // its output ends, and the answer says why
    this.#child.stdin.on('error', () => {})
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-saidMax)
    })
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
    process.once('exit', this.#kill)
  }

  async answer(): Promise<unknown> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`the program of dask ended: ${this.#said}`)
    return JSON.parse(value)
  }

  async ask(file: string): Promise<MadeGraph> {
    this.#child.stdin.write(`${file}\n`)
    return (await this.answer()) as MadeGraph
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.#kill)
    const { pid, exitCode, signalCode } = this.#child
    if (pid === undefined || exitCode !== null || signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.stdin.end()
    const timer = setTimeout(this.#kill, endMsMax)
    await exit
    clearTimeout(timer)
  }
}
