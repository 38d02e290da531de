/** Accepts several new connections in one turn of the event loop. libuv (since 1.45) accepts one
 *  for each listening handle. A server whose turns are long would accept few in a second, and a
 *  client behind a burst of connections would wait for all of them. So more handles listen on
 *  copies of the descriptor, and each accepts one. See rfc/12, rule 32.
 *  Invariant: a connection that a copy accepts is a connection of the server. No copy outlives
 *  `close`. */

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { duplicateDescriptor } from '../base/posix.js'

/** The largest number of connections that one address accepts in one turn of the event loop. Each
 *  of these handles makes a system call in vain for each connection that another handle
 *  accepted. */
export const acceptsPerTurn = 16

/** The handles that accept connections for one server. */
export class Acceptors {
  readonly #server: Server
  readonly #keepAliveMs: number
  readonly #copies: Server[] = []

  constructor(server: Server, { keepAliveMs }: { readonly keepAliveMs: number }) {
    this.#server = server
    this.#keepAliveMs = keepAliveMs
  }

  /** Begins to accept on all handles. `backlog` is the number of connections that may wait in the
   *  system. REQUIRES: the server listens. Throws EMISCONFIGURED (no native build), EIO. */
  async open(backlog: number): Promise<void> {
    const descriptor = descriptorOf(this.#server)
    if (descriptor === undefined) return
    for (let n = 1; n < acceptsPerTurn; n++) await this.#copy(descriptor, backlog)
  }

  /** Stops accepting on the copies. */
  close(): void {
    for (const copy of this.#copies.splice(0)) copy.close()
  }

  async #copy(descriptor: number, backlog: number): Promise<void> {
    // The options of the sockets that Node's HTTP server makes.
    const options = { allowHalfOpen: true, noDelay: true, keepAlive: true }
    const keepAliveInitialDelay = this.#keepAliveMs
    const copy = createServer({ ...options, keepAliveInitialDelay }, (socket: Socket) => {
      this.#server.emit('connection', socket)
    })
    this.#copies.push(copy)
    copy.listen({ fd: duplicateDescriptor(descriptor), backlog })
    await once(copy, 'listening')
    // Without a free descriptor a connection cannot be accepted. It is lost, and the server goes
    // on.
    copy.on('error', () => {})
  }
}

/** Returns the descriptor of a listening socket. Undefined if Node does not tell it. */
function descriptorOf(server: Server): number | undefined {
  const { _handle: handle } = server as Server & { readonly _handle?: { readonly fd?: number } }
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined
}
