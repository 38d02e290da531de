/** A client of frames, as plain as it can be: what comes is kept until it is asked for. */

import { once } from 'node:events'
import { WebSocket } from 'ws'
import { Wakeup } from '../../src/base/wakeup.js'
import {
  parseResponse,
  type RequestFrame,
  type ResponseFrame,
  subprotocol,
} from '../../src/wire/frames.js'
import { decodeMessage, encodeMessage, type Subprotocol } from '../../src/wire/messages.js'
import { fromJson } from '../wire/from-json.js'
import type { Serving } from './serving.js'

export type PeerOptions = {
  readonly protocol?: Subprotocol
  /** `header`: the server's token, the default. */
  readonly token?: 'header' | 'none'
  readonly headers?: Readonly<Record<string, string>>
}

export class Peer implements AsyncDisposable {
  readonly socket: WebSocket
  readonly #frames: ResponseFrame[] = []
  readonly #came = new Wakeup()
  readonly #protocol: Subprotocol
  closeCode: number | undefined

  private constructor(socket: WebSocket, protocol: Subprotocol) {
    this.socket = socket
    this.#protocol = protocol
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      this.#frames.push(readable(parseResponse(decodeMessage(isBinary ? data : data.toString()))))
      this.#came.wake()
    })
    socket.on('error', () => {})
    socket.on('close', (code) => {
      this.closeCode = code
      this.#came.wake()
    })
  }

  /** Over TCP. The handlers are on the socket before it is open. */
  static async connect(serving: Pick<Serving, 'server'>, options: PeerOptions = {}): Promise<Peer> {
    const { protocol = subprotocol, token = 'header', headers } = options
    const authorization = { authorization: `Bearer ${serving.server.token}` }
    const socket = new WebSocket(`ws://${serving.server.listen[0]}/v1/ws`, [protocol], {
      headers: { ...(token === 'header' ? authorization : {}), ...headers },
    })
    const peer = new Peer(socket, protocol)
    await once(socket, 'open')
    return peer
  }

  /** Of any shape. Bytes in it are sent as the subprotocol has them. */
  send(frame: unknown): void {
    this.socket.send(encodeAny(frame, this.#protocol))
  }

  /** The next frame. Throws when the socket closes before. */
  async next(): Promise<ResponseFrame> {
    for (;;) {
      const seen = this.#came.count
      const frame = this.#frames.shift()
      if (frame) return frame
      if (this.closeCode !== undefined) throw new Error(`closed with ${this.closeCode}`)
      await this.#came.wait(seen)
    }
  }

  /** Frames up to the first that matches, which is the last of them. */
  async until(matches: (frame: ResponseFrame) => boolean): Promise<ResponseFrame[]> {
    const frames: ResponseFrame[] = []
    for (;;) {
      const frame = await this.next()
      frames.push(frame)
      if (matches(frame)) return frames
    }
  }

  /** How many frames have come that nobody asked for yet. */
  get waiting(): number {
    return this.#frames.length
  }

  async closed(): Promise<number> {
    while (this.closeCode === undefined) await this.#came.wait(this.#came.count)
    return this.closeCode
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.terminate()
    await this.closed()
  }
}

function encodeAny(frame: unknown, protocol: Subprotocol): string | Uint8Array {
  return encodeMessage(frame as RequestFrame, protocol)
}

/** The frame with the bytes of a result in JSON as bytes, as it is in msgpack. */
function readable(frame: ResponseFrame): ResponseFrame {
  return frame.type === 'result' ? { ...frame, body: fromJson(frame.body) } : frame
}
