/** A proxy between one client and a server that holds one crossing until it is told to let it go, so that a test chooses
 *  where a process stands while others act. A crossing is a request or an answer of HTTP, a further piece of one of their
 *  bodies, or a frame of the websocket. It is named by what the proxy sees, and knows nothing of the calls that it serves.
 *  Requests that nothing waits for are no crossings: renewals of leases, the check of the store's id, credit, the end of a
 *  watch. They pass, unless they come behind what is held. */

import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import { Wakeup } from '../../src/base/wakeup.js'
import { frameSizeMax, subprotocol } from '../../src/wire/frames.js'
import { unpackFrame } from '../../src/wire/messages.js'

/** The size of the first piece of a body, in bytes. Each further piece is twice as large as the one before, and a crossing
 *  of its own. */
const firstPieceSize = 256 * 1024
/** Frames that control a watch that is there, and the frame that tells its end. */
const controls: readonly unknown[] = ['credit', 'cancel', 'auth', 'end']

/** A crossing that is held once it is there. */
export type Hold = {
  /** The names of the crossings since then, in order. The last one is held once `reached` has resolved. */
  readonly crossed: readonly string[]
  /** Resolves to the name of the crossing that is held. */
  readonly reached: Promise<string>
  /** Lets it pass, or gives up to hold one. */
  readonly open: () => void
}

type Held = {
  readonly crossed: string[]
  readonly after: number
  readonly reached: Deferred<string>
  readonly opened: Deferred<void>
}

export class HoldingProxy {
  readonly #upstream: string
  readonly #server: Server
  readonly #sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: frameSizeMax,
  })
  #held: Held | undefined
  /** Requests that the server has as a whole and has not answered; a watch is answered by its first event. */
  readonly #unanswered = new Set<object>()
  /** True if the newest thing that the client was told is that another holds the lease that it watches. */
  #isBehindHolder = false
  readonly #moved = new Wakeup()

  private constructor(upstream: string, server: Server) {
    this.#upstream = upstream
    this.#server = server
    // A connection that is closed because it was idle could carry a request by then.
    server.keepAliveTimeout = 0
    server.on('request', (asked, answer) => {
      answer.on('error', () => {})
      this.#relay(asked, answer).catch(() => answer.destroy()) // the other side has gone
    })
    server.on('upgrade', (asked, socket, head) => this.#upgrade(asked, socket, head))
  }

  /** Starts one before the server on a Unix socket. */
  static async start(upstream: string): Promise<HoldingProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new HoldingProxy(upstream, server)
  }

  get target(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Holds the crossing that comes after so many others from now on. What was held before stays so. */
  hold(after: number): Hold {
    const held = { crossed: [], after, reached: deferred<string>(), opened: deferred<void>() }
    this.#held = held
    return {
      crossed: held.crossed,
      reached: held.reached.promise,
      open: () => {
        if (this.#held === held) this.#held = undefined
        held.opened.resolve()
      },
    }
  }

  /** Resolves once the client has come as far as it can: all its requests are answered, and it was told that another
   *  holds the lease that it watches. */
  async waiting(): Promise<void> {
    while (!this.#isBehindHolder || this.#unanswered.size > 0) await this.#moves()
  }

  /** Resolves once the server has answered each request that it has. One that was let go in this turn counts. */
  async answered(): Promise<void> {
    await setImmediate()
    while (this.#unanswered.size > 0) await this.#moves()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#held?.opened.resolve()
    this.#server.close()
    this.#server.closeAllConnections()
    for (const client of this.#sockets.clients) client.terminate()
    await once(this.#server, 'close')
  }

  #moves(): Promise<void> {
    return this.#moved.wait(this.#moved.count)
  }

  async #pass(name: string): Promise<void> {
    const held = this.#held
    if (!held) return
    held.crossed.push(name)
    if (held.crossed.length <= held.after) return
    this.#held = undefined
    held.reached.resolve(name)
    await held.opened.promise
  }

  #ask(request: object): void {
    this.#unanswered.add(request)
    this.#isBehindHolder = false
    this.#moved.wake()
  }

  #answer(request: object): void {
    this.#unanswered.delete(request)
    this.#moved.wake()
  }

  async #relay(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { method = '', url = '' } = asked
    const name = `${method} ${url.replace(/\?.*/, '').replace(/[0-9a-f]{64}/g, 'ID')}`
    const body = piecesOf(asked)
    const { value: first = Buffer.alloc(0) } = await body.next()
    const pass = async (what: string) => {
      if (!isQuiet(url, first)) await this.#pass(what)
    }
    await pass(`ask ${name}`)
    const headers = withoutConnection(asked.headers)
    const options = { socketPath: this.#upstream, method, path: url, headers, agent: false }
    const asking = request(options)
    const responded = once(asking, 'response')
    responded.catch(() => {}) // awaited below, once the body has gone
    asking.on('error', () => {})
    if (first.length > 0) asking.write(first)
    try {
      for await (const piece of body) {
        await pass(`ask more of ${name}`)
        asking.write(piece)
      }
    } catch (error) {
      asking.destroy() // the server must not take a part for the whole
      throw error
    }
    asking.end()
    this.#ask(asking)
    const [real] = (await responded.finally(() => this.#answer(asking))) as [IncomingMessage]
    const pieces = piecesOf(real)
    const { value: begin = Buffer.alloc(0) } = await pieces.next()
    await pass(`answer ${name}`)
    answer.writeHead(real.statusCode ?? 0, withoutConnection(real.headers))
    await written(answer, begin)
    for await (const piece of pieces) {
      await pass(`answer more of ${name}`)
      await written(answer, piece)
    }
    answer.end()
  }

  #upgrade(asked: IncomingMessage, socket: Duplex, head: Buffer): void {
    const upstream = new WebSocket('ws://localhost/v1/ws', subprotocol, {
      createConnection: () => connect(this.#upstream),
      perMessageDeflate: false,
      maxPayload: frameSizeMax,
    })
    socket.on('error', () => {})
    upstream.on('error', () => socket.destroy())
    upstream.once('open', () => {
      this.#sockets.handleUpgrade(asked, socket, head, (client) => this.#join(client, upstream))
    })
  }

  /** Passes frames on in both directions, each in its order. */
  #join(client: WebSocket, upstream: WebSocket): void {
    const requests = new Map<unknown, { readonly name: string }>()
    let toServer = Promise.resolve()
    let toClient = Promise.resolve()
    client.on('error', () => {})
    client.on('message', (message: Buffer) => {
      const frame = frameOf(message)
      const isCrossing = !controls.includes(frame.op) && !isRenewal(frame.body)
      if (frame.op === 'cancel') this.#isBehindHolder = false
      const asked = { name: String(frame.op) }
      toServer = toServer.then(async () => {
        if (isCrossing) {
          await this.#pass(`ask ${asked.name}`)
          requests.set(frame.id, asked)
          if (upstream.readyState === WebSocket.OPEN) this.#ask(asked)
        }
        upstream.send(message, () => {})
      })
    })
    upstream.on('message', (message: Buffer) => {
      const frame = frameOf(message)
      const asked = requests.get(frame.id)
      const isCrossing = asked !== undefined && !controls.includes(frame.type)
      if (frame.type === 'lease') this.#isBehindHolder = frame.held === true
      if (isCrossing) this.#answer(asked)
      toClient = toClient.then(async () => {
        if (isCrossing) await this.#pass(`answer ${asked.name}: ${nameOf(frame)}`)
        client.send(message, () => {})
      })
    })
    // What is on its way still arrives, whatever becomes of who sent it.
    client.once('close', () => {
      toServer = toServer.then(() => this.answered()).then(() => upstream.close())
    })
    upstream.once('close', () => {
      for (const asked of requests.values()) this.#answer(asked)
      toClient = toClient.then(() => client.terminate())
    })
  }
}

type Frame = {
  readonly id: unknown
  readonly op?: unknown
  readonly body?: unknown
  readonly type?: unknown
  readonly held?: unknown
}

function frameOf(message: Buffer): Frame {
  return unpackFrame(message) as Frame
}

function nameOf({ type, held }: Frame): string {
  return type === 'lease' ? `lease ${held === true ? 'held' : 'free'}` : String(type)
}

/** True for a transaction that only renews a lease. */
function isRenewal(body: unknown): boolean {
  const { ops } = (body ?? {}) as { readonly ops?: readonly { readonly action?: unknown }[] }
  return Array.isArray(ops) && ops.every(({ action }) => action === 'renew')
}

function isQuiet(url: string, body: Buffer): boolean {
  if (url === '/healthz') return true
  const isSmall = url.startsWith('/v1/txn') && body.length < 1_000
  return isSmall && isRenewal(JSON.parse(body.toString()))
}

/** Connections end at the proxy. */
function withoutConnection({
  connection: _,
  'keep-alive': __,
  ...headers
}: IncomingHttpHeaders): IncomingHttpHeaders {
  return headers
}

async function* piecesOf(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, undefined> {
  let pieceSize = firstPieceSize
  let chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    chunks.push(chunk)
    size += chunk.length
    if (size < pieceSize) continue
    const all = Buffer.concat(chunks)
    yield all.subarray(0, pieceSize)
    chunks = [all.subarray(pieceSize)]
    size -= pieceSize
    pieceSize *= 2
  }
  if (size > 0) yield Buffer.concat(chunks)
}

async function written(answer: ServerResponse, piece: Buffer): Promise<void> {
  if (piece.length === 0 || answer.write(piece) || answer.destroyed) return
  await Promise.race([once(answer, 'drain'), once(answer, 'close')])
}
