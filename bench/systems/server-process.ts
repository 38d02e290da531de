/** The process of a server that a benchmark starts.
 *  Invariant: it ends when its use ends, and at the latest with the process that started it. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** The time in which a server has to listen, in ms. */
const startMsMax = 15_000
const lookMs = 10
/** The time to end in order before it is killed, in ms. */
const endMsMax = 5_000
/** The number of characters of its last words that an error quotes. */
const saidMax = 1_000

export class ServerProcess implements AsyncDisposable {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #name: string
  readonly #endSignal: NodeJS.Signals
  readonly #kill = () => this.#child.kill('SIGKILL')
  #said = ''

  private constructor(
    child: ChildProcess,
    {
      name,
      pid,
      endSignal,
    }: Pick<ServerProcess, 'pid'> & {
      readonly name: string
      readonly endSignal: NodeJS.Signals
    },
  ) {
    this.#child = child
    this.#name = name
    this.#endSignal = endSignal
    this.pid = pid
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#said = (this.#said + chunk.toString()).slice(-saidMax)
      })
    }
    process.once('exit', this.#kill)
  }

  /** Starts a process; `endSignal` is the one that has it end in order. */
  static async start(
    command: string,
    args: readonly string[],
    {
      endSignal = 'SIGTERM',
      ...options
    }: SpawnOptions & { readonly endSignal?: NodeJS.Signals } = {},
  ): Promise<ServerProcess> {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    if (child.pid === undefined) await once(child, 'spawn') // throws why it could not be started
    return new ServerProcess(child, { name: command, pid: child.pid ?? 0, endSignal })
  }

  /** Tries until the server answers. Throws what it said where it ends, or takes too long. */
  async answers<T>(attempt: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + startMsMax
    for (;;) {
      try {
        return await attempt()
      } catch (error) {
        if (this.#ended || performance.now() > deadline) {
          throw new Error(`${this.#name} does not answer: ${this.#said}`, { cause: error })
        }
        await delay(lookMs)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.#kill)
    if (this.#ended) return
    const exit = once(this.#child, 'exit')
    this.#child.kill(this.#endSignal)
    const timer = setTimeout(this.#kill, endMsMax)
    await exit
    clearTimeout(timer)
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }
}

/** Resolves when something listens there: a path of a Unix socket, or a port of this machine. */
export async function reach(target: string | number): Promise<void> {
  const socket = connect(
    typeof target === 'number' ? { port: target, host: '127.0.0.1' } : { path: target },
  )
  try {
    await once(socket, 'connect')
  } finally {
    socket.destroy()
  }
}

/** A port of this machine that nothing listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port is free')
  return address.port
}
