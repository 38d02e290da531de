/** What a hostile client is made of: a raw connection, requests and frames written by hand, and how often each
 *  kind of attack may be tried. See siege.ts.
 *  Invariant: every socket of an attack is destroyed when the attack ends; none of them throws. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** The server that is attacked. */
export type Target = { readonly port: number; readonly token: string }

export type Kind = {
  readonly name: string
  /** Attacks at once, and how many each of them begins in a second. CPU alone is not what is tried. */
  readonly lanes: number
  readonly perSecond: number
  /** One attack. It may hold its connections as long as it likes: `Attack.hold`. */
  readonly attack: (attack: Attack) => Promise<void>
}

/** Opcodes of RFC 6455. */
export const opcodes = { more: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** One attack of one lane. */
export class Attack implements Disposable {
  readonly target: Target
  readonly random: () => number
  readonly signal: AbortSignal
  readonly #sockets = new Set<Socket>()

  constructor(target: Target, random: () => number, signal: AbortSignal) {
    this.target = target
    this.random = random
    this.signal = signal
  }

  /** From `min` to `max`, both included. */
  draw(min: number, max: number): number {
    return min + Math.floor(this.random() * (max - min + 1))
  }

  one<T>(choices: readonly [T, ...T[]]): T {
    return choices[Math.floor(this.random() * choices.length)] ?? choices[0]
  }

  /** `deaf`: nothing is read of what comes. Also given where nobody accepts it. */
  async open({ deaf = false } = {}): Promise<Socket> {
    const socket = connect(this.target.port, '127.0.0.1')
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
    if (!deaf) socket.resume()
    await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => {})
    return socket
  }

  /** Head of a request with the token; `lines` are more of its headers. */
  head(request: string, lines: readonly string[] = []): string {
    const { port, token } = this.target
    const all = [
      `${request} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      `Authorization: Bearer ${token}`,
      ...lines,
    ]
    return `${all.join('\r\n')}\r\n\r\n`
  }

  /** Head of a request of somebody who has no token. */
  strange(request: string, lines: readonly string[] = []): string {
    const all = [`${request} HTTP/1.1`, `Host: 127.0.0.1:${this.target.port}`, ...lines]
    return `${all.join('\r\n')}\r\n\r\n`
  }

  /** A whole request with a body, and with the token. */
  request(line: string, body: string | Uint8Array, lines: readonly string[] = []): Buffer {
    const bytes = Buffer.from(body)
    const head = this.head(line, [`Content-Length: ${bytes.length}`, ...lines])
    return Buffer.concat([Buffer.from(head), bytes])
  }

  /** A websocket of JSON or of msgpack, once the server has agreed to it. */
  async websocket({
    deaf = false,
    token = true,
    lines = [] as readonly string[],
    json = true,
  } = {}): Promise<Socket> {
    const socket = await this.open({ deaf: true })
    const all = [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      `Sec-WebSocket-Protocol: tailrace.v1${json ? '.json' : ''}`,
      ...lines,
    ]
    const line = 'GET /v1/ws'
    socket.write(token ? this.head(line, all) : this.strange(line, all))
    await Promise.race([once(socket, 'readable'), once(socket, 'close')]).catch(() => {})
    if (!deaf) socket.resume()
    return socket
  }

  /** Resolves when it was sent, when the connection has ended, or when the siege is over. */
  async write(socket: Socket, bytes: string | Uint8Array): Promise<void> {
    if (socket.destroyed || socket.write(bytes)) return
    const either = new AbortController()
    const signal = AbortSignal.any([this.signal, either.signal])
    const ends = [once(socket, 'drain', { signal }), once(socket, 'close', { signal })]
    await Promise.race(ends).catch(() => {})
    // The other one listens no more.
    either.abort()
    await Promise.allSettled(ends)
  }

  /** Resolves after the time, or when the siege is over. */
  async hold(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.signal }).catch(() => {})
  }

  /** Bytes one after the other, until the connection ends, or the time is over. */
  async drip(socket: Socket, bytes: string, { everyMs, ms }: { everyMs: number; ms: number }) {
    const end = Date.now() + ms
    for (let at = 0; Date.now() < end && !socket.destroyed && !this.signal.aborted; at++) {
      socket.write(bytes[at % bytes.length] ?? 'x')
      await this.hold(everyMs)
    }
  }

  /** Reads a little now and then. REQUIRES: it was opened deaf. */
  async sip(socket: Socket, { everyMs, ms }: { everyMs: number; ms: number }): Promise<void> {
    const end = Date.now() + ms
    while (Date.now() < end && !socket.destroyed && !this.signal.aborted) {
      socket.read(1_024)
      await this.hold(everyMs)
    }
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** A masked frame. The mask is 0: the payload stays as it is. */
export function frame(opcode: number, payload: string | Uint8Array, { fin = true } = {}): Buffer {
  const bytes = Buffer.from(payload)
  const size = bytes.length
  const long = size > 65_535 ? 8 : size > 125 ? 2 : 0
  const head = Buffer.alloc(2 + long + 4)
  head[0] = (fin ? 0x80 : 0) | opcode
  head[1] = 0x80 | (long === 8 ? 127 : long === 2 ? 126 : size)
  if (long === 2) head.writeUInt16BE(size, 2)
  if (long === 8) head.writeBigUInt64BE(BigInt(size), 2)
  return Buffer.concat([head, bytes])
}

/** A request of the websocket in a frame of text. */
export function asked(request: unknown): Buffer {
  return frame(opcodes.text, JSON.stringify(request))
}
