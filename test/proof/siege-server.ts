/** A real server that clients in other processes load or attack, seen from outside. See siege.ts and overload.ts.
 *  Invariant: the processes that it starts end with it. */

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { on, once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { youngHeap } from '../../src/local/local.js'
import { Gauge } from './siege-gauge.js'

const logLinesMax = 200

type Address = {
  readonly pid: number
  readonly port: string
  readonly token: string
  readonly socket: string
}

export class SiegeServer implements Disposable {
  readonly port: string
  readonly token: string
  /** The path of its Unix socket. */
  readonly socket: string
  readonly gauge: Gauge
  /** What it wrote to its log. */
  readonly log: readonly string[]
  readonly #process: ChildProcess
  readonly #children: Set<ChildProcess>
  readonly #end: () => void

  private constructor(
    server: ChildProcess,
    { pid, port, token, socket }: Address,
    log: readonly string[],
  ) {
    this.#process = server
    this.port = port
    this.token = token
    this.socket = socket
    this.log = log
    this.gauge = new Gauge(pid, socket)
    const children = new Set([server])
    this.#children = children
    this.#end = () => {
      for (const child of children) child.kill('SIGKILL')
    }
    process.once('exit', this.#end)
  }

  /** `main`: the bundle of the command. */
  static async start({
    main,
    nodeArgs = [],
    data,
  }: {
    readonly main: string
    readonly nodeArgs?: readonly string[]
    readonly data: string
  }): Promise<SiegeServer> {
    const serve = [main, 'serve', '--json', '--data', data, '--listen', '127.0.0.1:0']
    const args = [youngHeap, ...nodeArgs, ...serve]
    const server = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    const log: string[] = []
    const note = (line: string) => {
      if (log.length < logLinesMax) log.push(line)
    }
    server.once('exit', (code, signal) => note(`the server ended with ${code ?? signal}`))
    createInterface({ input: server.stderr }).on('line', note)
    try {
      return new SiegeServer(server, await addressOf(server, data), log)
    } catch (error) {
      server.kill('SIGKILL')
      throw error
    }
  }

  /** Starts a process of clients, and waits until it is ready. */
  async fork(file: string, args: readonly string[]): Promise<ChildProcess> {
    const child = fork(file, args)
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    await messageOf(child)
    return child
  }

  /** Throws if it runs no more; `when`: what was tried. */
  checkRuns(when: string): void {
    const ended = this.#process.exitCode ?? this.#process.signalCode
    if (ended !== null) throw new Error(`${when}: the server ended with ${ended}`)
  }

  /** Stops it, and tells what was wrong with that. */
  async stop(): Promise<readonly string[]> {
    await this.gauge.end()
    const server = this.#process
    server.kill('SIGTERM')
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
    if (server.exitCode === 0) return []
    return [`the server stopped with ${server.exitCode ?? server.signalCode}`]
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#end)
    this.#end()
  }
}

async function addressOf(server: ChildProcess, data: string): Promise<Address> {
  if (!server.stdout) throw new Error('the server has no stdout')
  for await (const line of createInterface({ input: server.stdout })) {
    const { pid, socket, listen } = JSON.parse(line) as {
      readonly pid: number
      readonly socket: string
      readonly listen: readonly [string]
    }
    const token = (await readFile(join(data, 'token'), 'utf8')).trim()
    return { pid, socket, token, port: listen[0].split(':')[1] ?? '' }
  }
  throw new Error('the server did not start')
}

/** The next message of a process. */
export async function messageOf(child: ChildProcess): Promise<unknown> {
  for await (const [message] of on(child, 'message', { close: ['exit'] })) return message
  throw new Error(`a process ended with ${child.exitCode ?? child.signalCode}`)
}

export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
}

export function mebibytes(size: number): number {
  return Math.round(size / 1024 / 1024)
}
