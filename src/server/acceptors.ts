/** Takes several new connections in one turn of the event loop. libuv takes one for each listening handle (since 1.45), so
 *  that a server whose turns are long takes few in a second, and whoever comes behind a burst waits for all of it. More
 *  handles, on copies of the descriptor, take one each. See rfc/12, rule 32.
 *  Invariant: what a copy accepts is a connection of the server; no copy outlives `close`. */

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { duplicateDescriptor } from '../base/posix.js'

/** New connections of one address in one turn. Each costs a system call for each connection that another one took. */
export const acceptsPerTurn = 16

export class Acceptors {
  readonly #server: Server
  readonly #keepAliveMs: number
  readonly #copies: Server[] = []

  constructor(server: Server, { keepAliveMs }: { readonly keepAliveMs: number }) {
    this.#server = server
    this.#keepAliveMs = keepAliveMs
  }

  /** REQUIRES: the server listens. Throws EMISCONFIGURED (no native build), EIO. */
  async open(backlog: number): Promise<void> {
    const descriptor = descriptorOf(this.#server)
    if (descriptor === undefined) return
    for (let n = 1; n < acceptsPerTurn; n++) await this.#copy(descriptor, backlog)
  }

  /** Nothing more is accepted. */
  close(): void {
    for (const copy of this.#copies.splice(0)) copy.close()
  }

  async #copy(descriptor: number, backlog: number): Promise<void> {
    // As Node's server of HTTP makes its own.
    const options = { allowHalfOpen: true, noDelay: true, keepAlive: true }
    const keepAliveInitialDelay = this.#keepAliveMs
    const copy = createServer({ ...options, keepAliveInitialDelay }, (socket: Socket) => {
      this.#server.emit('connection', socket)
    })
    this.#copies.push(copy)
    copy.listen({ fd: duplicateDescriptor(descriptor), backlog })
    await once(copy, 'listening')
    // A connection that could not be taken, for want of descriptors: it is lost, the server goes on.
    copy.on('error', () => {})
  }
}

/** The descriptor of a listening socket. Undefined where Node does not tell. */
function descriptorOf(server: Server): number | undefined {
  const { _handle: handle } = server as Server & { readonly _handle?: { readonly fd?: number } }
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined
}
