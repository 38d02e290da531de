/** Headers that say what a body means: what is not simply the bytes to store is refused, and the old value
 *  stays. */

import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { expectError, Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())
beforeEach(async () => {
  await serving.store.put('kept', '0123456789')
})

const routes = [
  ['PUT', '/v1/kv/kept'],
  ['POST', '/v1/kv/kept'],
  ['POST', '/v1/content'],
  ['POST', '/v1/import?replace'],
  ['POST', '/v1/eventlog/kept'],
  ['POST', '/v1/txn'],
  ['PUT', '/v1/treeobj/kept'],
  ['POST', '/v1/jobs/1/stdin'],
  ['DELETE', '/v1/kv/kept'],
] as const

async function keepsValue(): Promise<void> {
  expect((await serving.ask('GET', '/v1/kv/kept')).body.toString()).toBe('0123456789')
}

describe.each(routes)('%s %s', (method, path) => {
  it.each(['bytes 5-9/10', 'bytes */10', 'bytes 0-9/10', 'x'])(
    'with Content-Range: %s is refused',
    async (range) => {
      const headers = { 'content-range': range }
      const answer = await serving.askLocally(method, path, { headers, body: '56789' })
      expectError(answer, 400, 'EINVAL', /Content-Range/)
      await keepsValue()
    },
  )

  it.each(['gzip', 'BR', 'zstd', 'identity, gzip', 'gzip, identity', 'x', 'aws-chunked'])(
    'with Content-Encoding: %s is refused',
    async (coding) => {
      const headers = { 'content-encoding': coding }
      const answer = await serving.askLocally(method, path, { headers, body: gzipSync('hi') })
      expectError(answer, 415, 'EINVAL', /Content-Encoding/)
      await keepsValue()
    },
  )

  it('with a form is refused', async () => {
    const headers = { 'content-type': 'multipart/form-data; boundary=x' }
    const answer = await serving.askLocally(method, path, { headers, body: '--x--' })
    expectError(answer, 415, 'EINVAL', /curl -T/)
    await keepsValue()
  })

  it('with a second coding of its transfer is refused', async () => {
    const headers = { 'transfer-encoding': 'gzip, chunked' }
    const answer = await serving.askLocally(method, path, { headers, body: 'x' })
    expectError(answer, 400, 'EINVAL', /Transfer-Encoding/)
    await keepsValue()
  })
})

it.each(['identity', 'Identity', 'identity, identity', ''])(
  'Content-Encoding: %j is the bytes themselves',
  async (coding) => {
    const headers = { 'content-encoding': coding }
    const answer = await serving.askLocally('PUT', '/v1/kv/plain', { headers, body: 'plain' })
    expect(answer.status).toBe(200)
    expect((await serving.ask('GET', '/v1/kv/plain')).body.toString()).toBe('plain')
  },
)

describe('a checksum', () => {
  const digestOf = (algorithm: string, body: string | Buffer) =>
    createHash(algorithm).update(body).digest('base64')
  const forms = [
    ['content-digest', (body: string) => `sha-256=:${digestOf('sha256', body)}:`],
    ['content-digest', (body: string) => `crc32c=:AAAA:, sha-512=:${digestOf('sha512', body)}:`],
    ['repr-digest', (body: string) => `sha-512=:${digestOf('sha512', body)}:`],
    [
      'digest',
      (body: string) => `SHA-256=${digestOf('sha256', body)},md5=${digestOf('md5', body)}`,
    ],
    ['content-md5', (body: string) => digestOf('md5', body)],
  ] as const

  it.each(forms)('%s is looked at', async (header, form) => {
    const body = 'z'.repeat(300_000)
    const ask = (sum: string, method = 'PUT') =>
      serving.askLocally(method, '/v1/kv/kept', { headers: { [header]: sum }, body })
    expectError(await ask(form('another')), 400, 'EINVAL', /the body is not what/)
    expectError(await ask(form('another'), 'POST'), 400, 'EINVAL', /the body is not what/)
    await keepsValue()
    expect((await ask(form(body))).status).toBe(200)
  })

  it.each([
    ['content-digest', 'crc32c=:AAAA:'],
    ['content-digest', 'sha-256=AAAA'],
    ['content-digest', ''],
    ['digest', 'UNIXsum=1'],
  ])('%s: %j is refused', async (header, sum) => {
    const headers = { [header]: sum }
    expectError(
      await serving.askLocally('PUT', '/v1/kv/kept', { headers, body: 'x' }),
      400,
      'EINVAL',
    )
    await keepsValue()
  })
})
