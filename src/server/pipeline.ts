/** The pipelined requests of one connection: those without a whole answer. HTTP/1.1 sends answers
 *  in the order of the requests, so work on several requests at once would only hold answers that
 *  cannot be sent yet. See rfc/12, rule 32.
 *  Invariant: only the oldest request is worked on. The next one begins after the end of its
 *  answer, in a later turn of the event loop. */

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** The largest number of requests of one connection that have no whole answer. One more ends the
 *  connection. */
export const pipelinedMax = 1_024

/** The pipeline of one connection. */
export class Pipeline {
  readonly #socket: Socket
  /** The responses in the order of their requests, each with the function that begins its work. The
   *  first one is worked on. */
  readonly #open = new Map<ServerResponse, () => void>()

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** The responses that are not whole, the oldest first. */
  get responses(): readonly ServerResponse[] {
    return [...this.#open.keys()]
  }

  /** True if every request has its whole answer. */
  get empty(): boolean {
    return this.#open.size === 0
  }

  /** Adds a request. `work` is called once, when its turn comes, unless the connection ends
   *  before. */
  add(response: ServerResponse, work: () => void): void {
    this.#open.set(response, work)
    response.once('close', () => this.#remove(response))
    // A refusal would have to wait behind the other answers, while Node's parser reads on. So the
    // connection ends.
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
