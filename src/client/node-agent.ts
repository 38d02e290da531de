/** Connections of `node:http` to a Unix socket. See rfc/12.
 *  Invariant: a server whose queue of connections is full is not taken for a server that is
 *  away. */

import { Agent, type AgentOptions, type ClientRequestArgs } from 'node:http'
import { connect, type IpcNetConnectOpts, type Socket } from 'node:net'
import type { Backoff } from '../api/connect.js'
import { delayOf } from './backoff.js'

/** The waits between tries while the queue is full. The system tells nobody when the queue has
 *  room. */
const backoff: Backoff = { minMs: 2, maxMs: 100 }

type Connected = (error: Error | null, socket: Socket) => void

/** An agent that retries `connect` to a Unix socket. While the server's queue is full, `connect`
 *  fails with EAGAIN; over TCP it would wait. */
export class UnixAgent extends Agent {
  readonly #random: () => number

  constructor(options: AgentOptions, random: () => number) {
    super(options)
    this.#random = random
  }

  /** Calls `connected` with the socket once it is connected, or with the error. Retries for at most
   *  `options.timeout` ms. */
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
