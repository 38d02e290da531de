/** Conditional requests and byte ranges of `/v1/kv`, as any HTTP client relies on them. */

import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Token } from '../../src/api/transaction.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { rangeOf } from '../../src/server/range.js'
import { expectError, Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

const other = `"blake3-${'0'.repeat(64)}"`

async function putOf(path: string, body: string | Buffer): Promise<string> {
  const put = await serving.ask('PUT', path, { body })
  expect(put.status).toBe(200)
  return String(put.headers.etag)
}

describe('a read', () => {
  it.each(['GET', 'HEAD'] as const)(
    '%s of what the caller has is 304, without a body',
    async (method) => {
      const path = `/v1/kv/cached/${method}`
      const etag = await putOf(path, 'same')
      for (const tags of [etag, `W/${etag}`, `${other}, ${etag}`, '*']) {
        const answer = await serving.ask(method, path, { headers: { 'if-none-match': tags } })
        expect(answer.status).toBe(304)
        expect(answer.body.length).toBe(0)
        expect(answer.headers.etag).toBe(etag)
      }
      const changed = await serving.ask(method, path, { headers: { 'if-none-match': other } })
      expect(changed.status).toBe(200)
      const matched = await serving.ask(method, path, { headers: { 'if-match': etag } })
      expect(matched.status).toBe(200)
      const lost = await serving.ask(method, path, { headers: { 'if-match': other } })
      expect(lost.status).toBe(409)
      expect(lost.headers['tailrace-error']).toBe('ECONFLICT')
    },
  )

  it('gives one range of bytes', async () => {
    const body = randomBytes(3 * blobSizeMax + 11)
    await putOf('/v1/kv/ranged', body)
    const size = body.length
    const cases: [string, number, number][] = [
      ['bytes=0-0', 0, 1],
      ['bytes=10-19', 10, 20],
      [`bytes=${blobSizeMax - 1}-${blobSizeMax}`, blobSizeMax - 1, blobSizeMax + 1],
      [`bytes=5-`, 5, size],
      ['bytes=-7', size - 7, size],
      [`bytes=-${size + 5}`, 0, size],
      [`bytes=${size - 1}-${size + 99}`, size - 1, size],
    ]
    for (const [range, from, to] of cases) {
      const answer = await serving.ask('GET', '/v1/kv/ranged', { headers: { range } })
      expect(answer.status).toBe(206)
      expect(answer.headers['content-range']).toBe(`bytes ${from}-${to - 1}/${size}`)
      expect(answer.headers['content-length']).toBe(String(to - from))
      expect(answer.body.equals(body.subarray(from, to))).toBe(true)
    }
  })

  it('gives all where the range cannot be read, or its If-Range is of another value', async () => {
    const etag = await putOf('/v1/kv/whole', '0123456789')
    const ignored = [
      { range: 'bytes=5-2' },
      { range: 'lines=1-2' },
      { range: 'bytes=0-1,4-5' },
      { range: 'bytes=-' },
      { range: 'bytes=1-2', 'if-range': other },
    ]
    for (const headers of ignored) {
      const answer = await serving.ask('GET', '/v1/kv/whole', { headers })
      expect([answer.status, answer.body.toString()]).toEqual([200, '0123456789'])
      expect(answer.headers['accept-ranges']).toBe('bytes')
    }
    const held = { range: 'bytes=1-2', 'if-range': etag }
    const answer = await serving.ask('GET', '/v1/kv/whole', { headers: held })
    expect([answer.status, answer.body.toString()]).toEqual([206, '12'])
  })

  it('refuses a range that begins behind the end', async () => {
    await putOf('/v1/kv/short', 'abc')
    for (const range of ['bytes=3-', 'bytes=-0']) {
      const answer = await serving.ask('GET', '/v1/kv/short', { headers: { range } })
      expectError(answer, 416, 'EINVAL', /3 bytes/)
      expect(answer.headers['content-range']).toBe('bytes */3')
    }
  })

  it('gives a range of an older root, and 304 for the part of a value', async () => {
    const etag = await putOf('/v1/kv/older', 'first')
    const { seq } = (await serving.ask('GET', '/v1/stat/older')).json as { seq: number }
    await putOf('/v1/kv/older', 'second')
    const headers = { range: 'bytes=1-3' }
    const old = await serving.ask('GET', `/v1/kv/older?at=${seq}`, { headers })
    expect([old.status, old.body.toString()]).toEqual([206, 'irs'])
    const same = { 'if-none-match': etag }
    const path = `/v1/kv/older?at=${seq}&from=2`
    expect((await serving.ask('GET', path, { headers: same })).status).toBe(304)
  })

  it('is judged by its conditions before its range', async () => {
    const path = '/v1/kv/range/judged'
    const etag = await putOf(path, '0123')
    const ask = (headers: Record<string, string>) =>
      serving.ask('GET', path, { headers: { range: 'bytes=9-', ...headers } })
    expect((await ask({ 'if-none-match': etag })).status).toBe(304)
    expectError(await ask({ 'if-match': other }), 409, 'ECONFLICT')
    expect((await ask({ 'if-match': etag })).status).toBe(416)
  })

  it('from a byte to a byte', async () => {
    await putOf('/v1/kv/middle', '0123456789')
    const ask = (query: string) => serving.ask('GET', `/v1/kv/middle?${query}`)
    expect((await ask('from=2&to=5')).body.toString()).toBe('234')
    expect((await ask('to=3')).body.toString()).toBe('012')
    expect((await ask('from=8&to=99')).body.toString()).toBe('89')
    expectError(await ask('index=0&to=3'), 400, 'EINVAL', /index/)
    expectError(await ask('follow&to=3'), 400, 'EINVAL', /\?to/)
  })
})

describe('a write', () => {
  it('If-Match: * wants something there, for each kind of write', async () => {
    const there = { 'if-match': '*' }
    for (const method of ['PUT', 'POST'] as const) {
      const path = `/v1/kv/any/${method}`
      const missing = await serving.ask(method, path, { body: 'x', headers: there })
      expectError(missing, 409, 'ECONFLICT', /not there/)
      await putOf(path, 'old')
      expect((await serving.ask(method, path, { body: 'x', headers: there })).status).toBe(200)
    }
    expect((await serving.ask('DELETE', '/v1/kv/any/PUT', { headers: there })).status).toBe(200)
  })

  it('takes a list of ETags, and If-None-Match of one', async () => {
    const path = '/v1/kv/listed'
    const etag = await putOf(path, 'a')
    const listed = { 'if-match': `${other}, ${etag}` }
    const put = await serving.ask('PUT', path, { body: 'b', headers: listed })
    expect(put.status).toBe(200)
    expect((await serving.ask('PUT', path, { body: 'c', headers: listed })).status).toBe(409)
    const now = String(put.headers.etag)
    const unless = { 'if-none-match': now }
    expect((await serving.ask('PUT', path, { body: 'd', headers: unless })).status).toBe(409)
    const unlessOld = { 'if-none-match': etag }
    expect((await serving.ask('PUT', path, { body: 'e', headers: unlessOld })).status).toBe(200)
    expect((await serving.ask('GET', path)).body.toString()).toBe('e')
  })

  it('takes an ETag that is no ref for one that nothing has', async () => {
    const path = '/v1/kv/conditional/foreign'
    const headers = { 'if-match': '"5d8c72a5edda8"' }
    const absent = await serving.ask('PUT', path, { body: 'x', headers })
    expectError(absent, 409, 'ECONFLICT', /not there/)
    await putOf(path, 'x')
    for (const method of ['GET', 'PUT', 'POST', 'DELETE'] as const) {
      const asked = await serving.ask(method, path, {
        headers,
        ...(method === 'GET' ? {} : { body: 'y' }),
      })
      expectError(asked, 409, 'ECONFLICT')
    }
  })

  it('never matches a weak ETag', async () => {
    const etag = await putOf('/v1/kv/weak', 'a')
    const weak = { 'if-match': `W/${etag}` }
    expect((await serving.ask('PUT', '/v1/kv/weak', { body: 'b', headers: weak })).status).toBe(409)
    expect((await serving.ask('GET', '/v1/kv/weak')).body.toString()).toBe('a')
  })

  it('of a stream is judged too', async () => {
    const body = randomBytes(2 * blobSizeMax)
    const there = { 'if-match': '*' }
    const path = '/v1/kv/streamed'
    expect((await serving.ask('PUT', path, { body, headers: there })).status).toBe(409)
    await putOf(path, 'x')
    expect((await serving.ask('PUT', path, { body, headers: there })).status).toBe(200)
  })

  it('takes any guards in a header, judged with its conditions, a token as text too', async () => {
    const etag = await putOf('/v1/kv/guarded', 'a')
    const take = { op: 'lease', key: 'lock', action: 'take', ttl: 60_000 }
    const body = JSON.stringify({ ops: [take] })
    const taken = await serving.ask('POST', '/v1/txn', { body })
    const { results } = taken.json as { readonly results: readonly { readonly token: Token }[] }
    const { incarnation = '', seq = 0 } = results[0]?.token ?? {}
    const held = JSON.stringify([{ lease: 'lock', token: `${incarnation}:${seq}` }])
    const lost = JSON.stringify([{ lease: 'lock', token: { incarnation, seq: seq - 1 } }])
    const ask = (
      method: 'PUT' | 'POST' | 'DELETE',
      path: string,
      headers: Readonly<Record<string, string>>,
    ) => serving.ask(method, path, { body: method === 'DELETE' ? '' : 'b', headers })
    const guards = 'tailrace-guards'
    for (const [method, path] of [
      ['PUT', '/v1/kv/guarded'],
      ['POST', '/v1/kv/guarded'],
      ['DELETE', '/v1/kv/guarded'],
    ] as const) {
      const refused = await ask(method, path, { [guards]: lost })
      expect(refused.json).toMatchObject({ error: { code: 'ECONFLICT', failed: { guard: 0 } } })
    }
    const both = await ask('PUT', '/v1/kv/guarded', { [guards]: lost, 'if-match': etag })
    expect(both.json).toMatchObject({ error: { code: 'ECONFLICT', failed: { guard: 1 } } })
    expect((await ask('POST', '/v1/kv/guarded', { [guards]: held })).status).toBe(200)
    expect((await ask('PUT', '/v1/kv/guarded', { [guards]: held })).status).toBe(200)
    for (const wrong of ['x', '{}', '[{}]', '[{"lease":"lock","token":"x"}]']) {
      expectError(await ask('PUT', '/v1/kv/guarded', { [guards]: wrong }), 400, 'EINVAL')
    }
    const read = await serving.ask('GET', '/v1/kv/guarded', { headers: { [guards]: held } })
    expectError(read, 400, 'EINVAL')
    const txn = await serving.ask('POST', '/v1/txn', { body, headers: { [guards]: held } })
    expectError(txn, 400, 'EINVAL')
  })

  it('of many writers with If-Match: * loses none', async () => {
    const path = '/v1/kv/contended'
    await putOf(path, '')
    const headers = { 'if-match': '*' }
    const writes = Array.from({ length: 8 }, (_, at) =>
      serving.ask('POST', path, { body: `${at};`, headers }),
    )
    for (const { status } of await Promise.all(writes)) expect(status).toBe(200)
    const items = (await serving.ask('GET', path)).body.toString().split(';').filter(Boolean)
    expect(items.sort()).toEqual(['0', '1', '2', '3', '4', '5', '6', '7'])
  })
})

describe('rangeOf()', () => {
  // Long enough that a search that goes back over the blanks would not end within the test's time.
  const blanks = ' '.repeat(1_000_000)

  it.each([
    [`bytes=${blanks}`, undefined],
    [`bytes=${blanks}0-${blanks}x`, undefined],
    [`bytes=${blanks}1${blanks}-${blanks}2${blanks}`, { from: 1, to: 3 }],
    [`bytes=${'-'.repeat(1_000_000)}`, undefined],
    [`bytes=${'0-1,'.repeat(300_000)}`, undefined],
    [`bytes${'='.repeat(1_000_000)}`, undefined],
  ])('reads %.12s… once', (header, range) => {
    expect(rangeOf(header, 10)).toEqual(range)
  })

  it('is a part of the value, as slicing has it', () => {
    const bound = fc.option(fc.nat(40), { nil: undefined })
    fc.assert(
      fc.property(bound, bound, fc.nat(20), (first, last, size) => {
        const range = rangeOf(`bytes=${first ?? ''}-${last ?? ''}`, size)
        const bytes = Array.from({ length: size }, (_, at) => at)
        if (first === undefined && last === undefined) return range === undefined
        if (first !== undefined && last !== undefined && last < first) return range === undefined
        const wanted =
          first === undefined
            ? bytes.slice(Math.max(0, size - (last ?? 0)))
            : bytes.slice(first, last === undefined ? size : last + 1)
        if (wanted.length === 0) return range === 'unsatisfiable'
        if (typeof range !== 'object') return false
        return String(bytes.slice(range.from, range.to)) === String(wanted)
      }),
    )
  })
})
