/** Ids of requests, and their lines in the log. See rfc/29, rules 7 to 9. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Wakeup } from '../../src/base/wakeup.js'
import { connect } from '../../src/client/node.js'
import { subprotocolJson } from '../../src/wire/frames.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

type Line = Readonly<Record<string, string | number>>

const lines: Line[] = []
const came = new Wakeup()
let serving: Serving
beforeAll(async () => {
  serving = await Serving.start({
    logging: { level: 'debug', format: 'json' },
    log: (line) => {
      lines.push(JSON.parse(line) as Line)
      came.wake()
    },
  })
  await serving.store.put('a', 'value')
})
afterAll(() => serving[Symbol.asyncDispose]())

/** The first line with the fields, as soon as it is there. */
async function lineWith(fields: Line): Promise<Line> {
  for (;;) {
    const seen = came.count
    const found = lines.find((line) =>
      Object.entries(fields).every(([name, value]) => line[name] === value),
    )
    if (found) return found
    await came.wait(seen)
  }
}

describe('over HTTP', () => {
  it('an error has the id that the client gave, or a new one', async () => {
    const given = { headers: { 'x-request-id': 'mine:1.2-3' } }
    const first = await serving.ask('GET', '/v1/kv/nothing', given)
    expect(first.headers['x-request-id']).toBe('mine:1.2-3')
    const second = await serving.ask('GET', '/v1/kv/nothing')
    const third = await serving.ask('GET', '/v1/kv/nothing')
    expect(second.headers['x-request-id']).toMatch(/^[a-z0-9]+-[a-z0-9]+$/)
    expect(third.headers['x-request-id']).not.toBe(second.headers['x-request-id'])
  })

  it.each(['two words', 'x'.repeat(65), 'a=b', ''])('"%s" is no id', async (id) => {
    const answer = await serving.ask('GET', '/v1/kv/nothing', { headers: { 'x-request-id': id } })
    expect(answer.headers['x-request-id']).toMatch(/^[a-z0-9]+-[a-z0-9]+$/)
  })

  it('each request is a line with its id, its outcome and its token', async () => {
    const { id, token } = await serving.store.tokens.create('reader', { grants: ['read'] })
    await serving.ask('GET', '/v1/kv/a', { headers: { 'x-request-id': 'one' }, token })
    const line = await lineWith({ request: 'one' })
    expect(line).toEqual({
      ...{ time: expect.any(String), level: 'debug', message: 'GET /v1/kv/a' },
      ...{ way: 'http', request: 'one', outcome: 200, ms: expect.any(Number), token: id },
    })
    expect(JSON.stringify(lines)).not.toContain(token)
    await serving.ask('PUT', '/v1/kv/a', { headers: { 'x-request-id': 'two' }, token, body: 'x' })
    expect(await lineWith({ request: 'two' })).toMatchObject({ outcome: 403 })
  })
})

describe('over the websocket', () => {
  it('each request is a line with the connection and the id of its frame', async () => {
    await using peer = await Peer.connect(serving, { protocol: subprotocolJson })
    peer.send({ id: 7, op: 'read', body: { keys: ['a'] } })
    peer.send({ id: 8, op: 'txn', body: { ops: [{ op: 'put', key: 'b', value: 'x' }] } })
    peer.send({ id: 9, op: 'history.pin', body: { name: 'p', at: 99_999 } })
    for (let count = 0; count < 3; count++) await peer.next()
    const failed = await lineWith({ message: 'history.pin' })
    expect(failed).toMatchObject({ way: 'websocket', outcome: 'EINVAL', token: 'owner' })
    expect(String(failed['request'])).toMatch(/^[a-z0-9]+-[a-z0-9]+\/9$/)
    const connection = String(failed['request']).split('/')[0]
    expect(await lineWith({ request: `${connection}/8` })).toMatchObject({ outcome: 'ok' })
    expect(await lineWith({ request: `${connection}/7` })).toMatchObject({ message: 'read' })
  })
})

describe('at the level of every day', () => {
  it('requests are no lines', async () => {
    await using other = await Serving.start()
    await other.ask('GET', '/v1/kv/nothing')
    await using store = await connect(other.url, { token: other.server.token })
    await store.put('a', 'b')
    await other.server.stop()
    expect(other.log).toEqual([])
  })
})
