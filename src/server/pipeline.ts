/** Requests of one connection that have no whole answer yet. HTTP/1.1 gives the answers in the order of the requests,
 *  so that working on several of them at once would only hold what cannot be sent. See rfc/12, rule 32.
 *  Invariant: one of them is worked on at a time, the oldest; the next one begins in a later turn of the event loop
 *  than the end of the answer before it. */

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Requests of one connection that may be without an answer. One more ends the connection. */
export const pipelinedMax = 1_024

export class Pipeline {
  readonly #socket: Socket
  /** In the order of their requests; the first one is worked on. With what begins the work. */
  readonly #open = new Map<ServerResponse, () => void>()

  constructor(socket: Socket) {
    this.#socket = socket
  }

  get responses(): readonly ServerResponse[] {
    return [...this.#open.keys()]
  }

  get empty(): boolean {
    return this.#open.size === 0
  }

  /** `work` is called once, unless the connection ends before. */
  add(response: ServerResponse, work: () => void): void {
    this.#open.set(response, work)
    response.once('close', () => this.#remove(response))
    // Node's parser reads on, whatever waits: a refusal would have to wait as well, behind the others.
    if (this.#open.size > pipelinedMax) this.#socket.destroy()
    else if (this.#open.size === 1) work()
  }

  #remove(response: ServerResponse): void {
    const [first] = this.#open.keys()
    this.#open.delete(response)
    if (first === response && !this.empty) setImmediate(() => this.#next())
  }

  #next(): void {
    const [work] = this.#open.values()
    if (!this.#socket.destroyed) work?.()
  }
}
