/** Connections to a Unix socket, for `node:http`. See rfc/12.
 *  Invariant: a server that has too many connections waiting to be accepted is not taken for one that is away. */

import { Agent, type AgentOptions, type ClientRequestArgs } from 'node:http'
import { connect, type IpcNetConnectOpts, type Socket } from 'node:net'
import type { Backoff } from '../api/connect.js'
import { delayOf } from './backoff.js'

/** Between two tries at a queue that is full: the system wakes nobody when there is room. */
const backoff: Backoff = { minMs: 2, maxMs: 100 }

type Connected = (error: Error | null, socket: Socket) => void

/** Retries `connect` to a Unix socket: with a full server queue it fails with EAGAIN, where TCP would wait. */
export class UnixAgent extends Agent {
  readonly #random: () => number

  constructor(options: AgentOptions, random: () => number) {
    super(options)
    this.#random = random
  }

  /** Gives the socket once it is connected. Who asked bounds the wait: a socket that comes too late is ended. */
  override createConnection(
    options: ClientRequestArgs,
    connected: Connected = () => {},
  ): undefined {
    const untilMs = performance.now() + (options.timeout ?? 0)
    const to = { path: options.socketPath ?? '', timeout: options.timeout ?? 0 }
    this.#connect(to, { connected, failures: 1, untilMs })
  }

  #connect(
    options: IpcNetConnectOpts,
    { connected, failures, untilMs }: { connected: Connected; failures: number; untilMs: number },
  ): void {
    const socket = connect(options)
    const fail = (error: Error) => {
      socket.destroy()
      const isFull = 'code' in error && error.code === 'EAGAIN'
      if (!isFull || performance.now() >= untilMs) connected(error, socket)
      else {
        const again = { connected, failures: failures + 1, untilMs }
        setTimeout(() => this.#connect(options, again), delayOf(backoff, failures, this.#random()))
      }
    }
    socket.once('error', fail)
    socket.once('connect', () => {
      socket.off('error', fail)
      connected(null, socket)
    })
  }
}
