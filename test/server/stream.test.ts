/** Answers that fail on their way, and exceptions that nobody foresaw. */

import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { TailraceError } from '../../src/error.js'
import { accessOf } from '../../src/server/access.js'
import { Activity } from '../../src/server/activity.js'
import { type App, createApp } from '../../src/server/app.js'
import { Log } from '../../src/server/log.js'
import { Meters } from '../../src/server/meters.js'
import { Pace } from '../../src/server/pace.js'
import { RequestIds } from '../../src/server/request-ids.js'
import { sendStream, signalOf } from '../../src/server/stream.js'
import { noPrincipals } from './principals.js'

let app: App
let port: number
const log: string[] = []
const sink = new Log((line) => void log.push(line), systemEnvironment)
/** The lines without their times and ids. */
const texts = () =>
  log.map((line) => line.replace(/^\S+ /, '').replace(/ request=0-\w+/, ' request=…'))
const activity = new Activity(() => 0)
const access = accessOf({ addresses: [], scheme: 'http', allowHosts: [], allowOrigins: [] })

async function* pieces(error: Error, before: number): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < before; index++) yield Buffer.alloc(100_000, 'x')
  throw error
}

beforeAll(async () => {
  const meters = new Meters(() => 0)
  const shared = { activity, access: () => access, principals: noPrincipals, meters }
  const options = { ...shared, needsToken: false }
  app = createApp({ ...options, log: sink, requestIds: new RequestIds(0) }).app
  const failures = {
    corrupt: new TailraceError('ECORRUPT', 'stored bytes do not match'),
    unforeseen: new RangeError('out of range'),
    numbered: Object.assign(new Error('damaged'), { code: -30_796 }),
    odd: { code: 7 } as unknown as Error,
  }
  for (const [name, error] of Object.entries(failures)) {
    app.get(`/${name}/:name`, async (request, reply) => {
      const before = Number((request.params as { name: string }).name)
      const headers = async () => ({ 'content-length': '1000000' })
      await sendStream(reply, {
        headers,
        pieces: pieces(error, before),
        signal: signalOf(activity, reply),
        log: sink,
        pace: new Pace(),
      })
      return reply
    })
  }
  await app.listen({ host: '127.0.0.1', port: 0 })
  port = (app.server.address() as AddressInfo).port
})
afterAll(() => app.close())
beforeEach(() => {
  log.length = 0
})

async function get(path: string) {
  const request = httpRequest({ host: '127.0.0.1', port, path })
  request.end()
  const [response] = await once(request, 'response')
  let body = ''
  try {
    for await (const chunk of response) body += chunk
  } catch {
    // The connection has ended before the body.
  }
  return { status: response.statusCode, complete: response.complete as boolean, body }
}

describe('sendStream()', () => {
  it('that fails at once is an envelope', async () => {
    const { status, complete, body } = await get('/corrupt/0')
    expect([status, complete]).toEqual([500, true])
    expect(JSON.parse(body)).toEqual({
      error: { code: 'ECORRUPT', message: 'stored bytes do not match' },
    })
    expect(texts()).toEqual([
      'error GET /corrupt/0: ECORRUPT: stored bytes do not match code=ECORRUPT request=…',
    ])
  })

  it.each([1, 3])('that fails after %i pieces sends them, and is not whole', async (before) => {
    const { status, complete, body } = await get(`/corrupt/${before}`)
    expect([status, complete, body.length]).toEqual([200, false, before * 100_000])
    expect(texts()).toEqual([
      `error /corrupt/${before}: ECORRUPT: stored bytes do not match code=ECORRUPT request=…`,
    ])
  })

  it('leaves nothing that waits', async () => {
    await get('/corrupt/2')
    await get('/corrupt/0')
    await activity.finished(1_000)
    expect(activity.requests).toBe(0)
  })
})

it('an error of a library is EIO in the envelope, whatever its shape', async () => {
  for (const [name, message] of [
    ['numbered', 'damaged'],
    ['odd', '[object Object]'],
  ]) {
    const { status, body } = await get(`/${name}/0`)
    expect(status).toBe(500)
    expect(JSON.parse(body)).toEqual({ error: { code: 'EIO', message } })
  }
})

it('an exception that nobody foresaw is EIO without its stack, which is logged', async () => {
  const { status, body } = await get('/unforeseen/0')
  expect(status).toBe(500)
  expect(JSON.parse(body)).toEqual({ error: { code: 'EIO', message: 'out of range' } })
  expect(log).toHaveLength(1)
  expect(texts()[0]).toMatch(
    /^error GET \/unforeseen\/0: RangeError: out of range code=EIO request=…\n.*stream\.test/s,
  )
})
