/** The output of a call in a worker, on its way to the scheduler. See rfc/27, rule 11.
 *  Invariant: it is sent in the order in which it was printed, that of one turn of the event loop at once,
 *  and all of it before the answer to the call. Of what a function prints in one turn the last part is held. */

import type { Print, Stream } from '../eventlog/stdio.js'

/** The size of the last part of the output of one turn that is sent, in bytes: as much as a run keeps. */
const heldSizeMax = 4 * 1024 * 1024

/** Bytes of one stream, one behind the other. */
type Piece = { readonly stream: Stream; readonly chunks: Uint8Array[] }

/** The output. Mutable; owned by its call. */
export class Printing {
  readonly #send: Print
  readonly #pieces: Piece[] = []
  #size = 0
  #turn: NodeJS.Immediate | undefined

  constructor(send: Print) {
    this.#send = send
  }

  /** Takes bytes, which are copied. */
  add(stream: Stream, bytes: Uint8Array): void {
    const last = this.#pieces.at(-1)
    if (last?.stream === stream) last.chunks.push(Uint8Array.from(bytes))
    else this.#pieces.push({ stream, chunks: [Uint8Array.from(bytes)] })
    this.#size += bytes.length
    while (this.#size > heldSizeMax) this.#dropOldest()
    this.#turn ??= setImmediate(() => this.flush())
  }

  #dropOldest(): void {
    const [oldest] = this.#pieces
    this.#size -= oldest?.chunks.shift()?.length ?? this.#size
    if (oldest?.chunks.length === 0) this.#pieces.shift()
  }

  /** Sends what is held. */
  flush(): void {
    clearImmediate(this.#turn)
    this.#turn = undefined
    this.#size = 0
    for (const { stream, chunks } of this.#pieces.splice(0)) {
      // In memory of its own, which a thread may move.
      this.#send(stream, Uint8Array.from(Buffer.concat(chunks)))
    }
  }
}
