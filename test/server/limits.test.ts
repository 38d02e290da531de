/** Bodies above their limits: E2BIG, and a connection that goes on. */

import { once } from 'node:events'
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { transactionSizeMax } from '../../src/api/transaction.js'
import { bodySizeMax } from '../../src/server/body.js'
import { admittedRest } from '../../src/server/refusal.js'
import { expectError, Serving } from './serving.js'

const drainSizeMax = admittedRest.size
let serving: Serving
const agent = new Agent({ keepAlive: true, maxSockets: 1 })

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(async () => {
  agent.destroy()
  await serving[Symbol.asyncDispose]()
})

/** On the one connection that the agent keeps. */
async function ask(
  method: string,
  path: string,
  body: Buffer,
  framing: 'length' | 'chunked',
): Promise<{ status: number; json: unknown; reused: boolean }> {
  const headers = framing === 'length' ? { 'content-length': body.length } : {}
  const { socket } = serving.server
  const request: ClientRequest = httpRequest({ agent, socketPath: socket, method, path, headers })
  // A refusal comes before the body has gone.
  const answered = once(request, 'response')
  for (let at = 0; at < body.length; at += 1_000_000) {
    if (!request.write(body.subarray(at, at + 1_000_000))) await once(request, 'drain')
  }
  request.end()
  const [response]: IncomingMessage[] = await answered
  const chunks: Buffer[] = []
  for await (const chunk of response ?? []) chunks.push(chunk)
  const json = JSON.parse(Buffer.concat(chunks).toString())
  return { status: response?.statusCode ?? 0, json, reused: request.reusedSocket }
}

describe.each(['length', 'chunked'] as const)('a body (%s)', (framing) => {
  it.each([
    ['POST', '/v1/kv/a', transactionSizeMax],
    ['POST', '/v1/eventlog/a', transactionSizeMax],
    ['POST', '/v1/txn', bodySizeMax],
    ['POST', '/v1/read', bodySizeMax],
    ['POST', '/v1/jobs', bodySizeMax],
    ['POST', '/v1/ns', bodySizeMax],
  ])(
    'above the limit of %s %s is E2BIG, and the connection goes on',
    async (method, path, size) => {
      await ask('POST', '/v1/kv/first', Buffer.from('x'), framing)
      const answer = await ask(method, path, Buffer.alloc(size + 1, ' '), framing)
      expect(answer).toEqual({
        status: 413,
        json: { error: { code: 'E2BIG', message: expect.stringMatching(/bytes/) } },
        reused: true,
      })
      expect(await ask('POST', '/v1/kv/next', Buffer.from('x'), framing)).toMatchObject({
        status: 200,
        reused: true,
      })
    },
  )

  it('at the limit of an append is taken', async () => {
    const answer = await ask('POST', '/v1/kv/full', Buffer.alloc(transactionSizeMax, 1), framing)
    expect(answer.status).toBe(200)
  })

  it('of a PUT has none', async () => {
    const body = Buffer.alloc(30_000_000, 'abc')
    expect((await ask('PUT', '/v1/kv/large', body, framing)).status).toBe(200)
    const answer = await serving.ask('GET', '/v1/kv/large')
    expect(answer.body.equals(body)).toBe(true)
  })

  it('that is refused early leaves the connection usable', async () => {
    await serving.store.put('dir/value', 'x')
    const body = Buffer.alloc(3_000_000)
    expect(await ask('PUT', '/v1/kv/dir', body, framing)).toMatchObject({ status: 409 })
    expect(await ask('PUT', '/v1/nothing', body, framing)).toMatchObject({
      status: 404,
      reused: true,
    })
    expect(await ask('PUT', '/v1/kv/a?x', body, framing)).toMatchObject({
      status: 400,
      reused: true,
    })
    expect(await ask('PUT', '/v1/kv/b', body, framing)).toMatchObject({ status: 200, reused: true })
  })
})

it('values above transactionSizeMax in a smaller body are E2BIG', async () => {
  const value = 'x'.repeat(transactionSizeMax + 1)
  const body = JSON.stringify({ ops: [{ op: 'put', key: 'a', value }] })
  expectError(await serving.ask('POST', '/v1/txn', { body }), 413, 'E2BIG')
})

describe('above what is dropped to keep a connection', () => {
  it('a body with a length is answered before it comes, and the connection is closed', async () => {
    const socket = connect(serving.server.socket)
    socket.write(`POST /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: ${drainSizeMax + 1}\r\n\r\n{`)
    const text = await textOf(socket)
    expect(text).toMatch(/^HTTP\/1\.1 413 /)
    expect(text).toMatch(/\r\nconnection: close\r\n/i)
    expect(text).toMatch(/"code":"E2BIG"/)
  })

  it('a chunked body is answered once so much has come', async () => {
    const socket = connect(serving.server.socket)
    socket.on('error', () => {})
    socket.write('POST /v1/txn HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
    const chunk = Buffer.concat([
      Buffer.from('100000\r\n'),
      Buffer.alloc(0x100000),
      Buffer.from('\r\n'),
    ])
    const answered = textOf(socket)
    for (let sent = 0; sent <= bodySizeMax + drainSizeMax + 0x200000; sent += 0x100000) {
      if (socket.destroyed) break
      // The connection may end while we wait.
      const drained = () => once(socket, 'drain').catch(() => {})
      if (!socket.write(chunk)) await Promise.race([drained(), answered])
    }
    const text = await answered
    // The peer may see the reset before it has read the answer.
    expect(text).toMatch(/^$|^HTTP\/1\.1 413 /)
    expect(socket.destroyed).toBe(true)
  })
})

/** Everything up to the end of the connection. */
async function textOf(socket: ReturnType<typeof connect>): Promise<string> {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString()
  })
  while (!socket.closed) await once(socket, 'close').catch(() => {})
  return text
}
