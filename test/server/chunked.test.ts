/** Bodies in chunks: the decoder against the encoding, and the server with requests that it decodes itself. */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ChunkDecoder, chunkExtraMax } from '../../src/server/chunked.js'
import { Raw, refusalIn } from './raw.js'
import { Serving } from './serving.js'

const bytesOf = (text: string) => Buffer.from(text, 'latin1')

/** Decodes what came in pieces. Returns the body, and the pieces of it. */
function decode(pieces: readonly Uint8Array[]) {
  const decoder = new ChunkDecoder()
  const bodies = pieces.map((piece) => decoder.take(piece).body)
  return { body: Buffer.concat(bodies), bodies, done: decoder.done }
}

/** Cuts bytes at places. */
function cut(bytes: Uint8Array, places: readonly number[]): readonly Uint8Array[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [...ends, bytes.length].map((end, at) => bytes.subarray(ends[at - 1] ?? 0, end))
}

const extension = fc.constantFrom('', ';a', ';a=b', ';a="b c"', '; x')
const chunk = fc.record({
  bytes: fc.uint8Array({ minLength: 1, maxLength: 80 }),
  extension,
  digits: fc.constantFrom(
    (size: string) => size,
    (size: string) => `00${size.toUpperCase()}`,
  ),
})
const whole = fc.record({
  chunks: fc.array(chunk, { maxLength: 12 }),
  last: extension,
  trailers: fc.constantFrom('', 'A: b\r\n', 'A: b\r\nC: d\r\n'),
  places: fc.array(fc.nat(), { maxLength: 12 }),
})

function encode({
  chunks,
  last,
  trailers,
}: {
  chunks: readonly { bytes: Uint8Array; extension: string; digits: (size: string) => string }[]
  last: string
  trailers: string
}): Buffer {
  const parts = chunks.flatMap((one) => [
    bytesOf(`${one.digits(one.bytes.length.toString(16))}${one.extension}\r\n`),
    one.bytes,
    bytesOf('\r\n'),
  ])
  return Buffer.concat([...parts, bytesOf(`0${last}\r\n${trailers}\r\n`)])
}

describe('the decoder', () => {
  it('gives the body that was encoded, however it comes, and looks at nothing behind it', () => {
    fc.assert(
      fc.property(whole, fc.uint8Array({ maxLength: 20 }), (body, behind) => {
        const encoded = encode(body)
        const wanted = Buffer.concat(body.chunks.map(({ bytes }) => bytes))
        const { body: got, done } = decode(cut(Buffer.concat([encoded, behind]), body.places))
        expect([got.equals(wanted), done]).toEqual([true, true])
        // No part of it is whole.
        const early = decode(cut(encoded.subarray(0, -1), body.places))
        expect([early.body.equals(wanted), early.done]).toEqual([true, false])
      }),
    )
  })

  it.each([
    ['no size', '\r\n', 'HPE_INVALID_CHUNK_SIZE'],
    ['a size that is none', 'x\r\n', 'HPE_INVALID_CHUNK_SIZE'],
    ['a size with a sign', '+1\r\nx\r\n', 'HPE_INVALID_CHUNK_SIZE'],
    ['a size with a prefix', '0x1\r\nx\r\n', 'HPE_INVALID_CHUNK_SIZE'],
    ['a blank behind a size', '1 \r\nx\r\n', 'HPE_INVALID_CHUNK_SIZE'],
    ['a blank before a size', ' 1\r\nx\r\n', 'HPE_INVALID_CHUNK_SIZE'],
    ['a huge size', `${'1'.repeat(15)}\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
    ['a size of many digits', `${'0'.repeat(33)}\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
    ['a line feed behind a size', '1\nx\r\n', 'HPE_INVALID_CHUNK_SIZE'],
    ['a carriage return alone behind a size', '1\rx\r\n', 'HPE_STRICT'],
    ['a line feed in an extension', '1;a\nx\r\n', 'HPE_STRICT'],
    ['a chunk that is longer than its size', '1\r\nxy\r\n', 'HPE_STRICT'],
    ['a line feed behind a chunk', '1\r\nx\n', 'HPE_STRICT'],
    ['a line feed in a trailer', '0\r\na: b\n\r\n', 'HPE_STRICT'],
    ['a long extension', `1;${'a'.repeat(chunkExtraMax + 1)}`, 'HPE_CHUNK_EXTENSIONS_OVERFLOW'],
    ['long trailers', `0\r\n${'a: b\r\n'.repeat(chunkExtraMax / 4 + 1)}`, 'HPE_HEADER_OVERFLOW'],
  ])('refuses %s', (_, text, code) => {
    expect(() => decode([bytesOf(text)])).toThrow(expect.objectContaining({ code }))
    expect(() => decode([...bytesOf(text)].map((byte) => Buffer.from([byte])))).toThrow(
      expect.objectContaining({ code }),
    )
  })

  it('holds no more memory than twice the bytes of a body', () => {
    const chunk = `1;${'x'.repeat(16_000)}\r\ny\r\n`
    for (const text of [chunk, chunk.repeat(4), `${'1\r\nx\r\n'.repeat(10_000)}`]) {
      const [body] = decode([bytesOf(text)]).bodies
      expect(body?.buffer.byteLength).toBeLessThanOrEqual(2 * (body?.length ?? 0))
    }
  })

  it('makes one piece of all chunks of a read, and no copy of a lone one', () => {
    const many = decode([bytesOf('1\r\nx\r\n'.repeat(10_000))])
    expect(many.bodies.map(({ length }) => length)).toEqual([10_000])
    const lone = bytesOf(`400\r\n${'y'.repeat(1_024)}\r\n`)
    expect(decode([lone]).bodies[0]?.buffer).toBe(lone.buffer)
  })
})

describe('a request in chunks', () => {
  let serving: Serving
  beforeAll(async () => {
    serving = await Serving.start()
  })
  afterAll(() => serving[Symbol.asyncDispose]())

  const put = (key: string, ...more: readonly string[]) => [
    `PUT /v1/kv/${key} HTTP/1.1`,
    'Host: localhost',
    `Authorization: Bearer ${serving.server.token}`,
    'Transfer-Encoding: chunked',
    ...more,
  ]
  const stored = async (key: string) =>
    (await serving.ask('GET', `/v1/kv/${key}`)).body.toString('latin1')

  it('of a byte each is stored', async () => {
    await using raw = await Raw.overTcp(serving)
    raw.send(put('bytes'), `${'1\r\nx\r\n'.repeat(30_000)}0\r\n\r\n`)
    expect(await raw.until(/\}$/)).toMatch(/^HTTP\/1\.1 200 /)
    expect(await stored('bytes')).toBe('x'.repeat(30_000))
  })

  it('is larger than what the server holds, and comes at its pace', async () => {
    await using raw = await Raw.overTcp(serving)
    const piece = 'z'.repeat(100_000)
    raw.send(put('large'), `${`186a0\r\n${piece}\r\n`.repeat(80)}0\r\n\r\n`)
    expect(await raw.until(/\}$/)).toMatch(/^HTTP\/1\.1 200 /)
    expect(await stored('large')).toBe(piece.repeat(80))
  })

  it('comes in its order behind others, whose answers are whole', async () => {
    await serving.store.put('before', 'y'.repeat(3_000_000))
    await using raw = await Raw.overTcp(serving)
    const [, ...headers] = put('x').slice(0, 3)
    const get = ['GET /v1/kv/before HTTP/1.1', ...headers, '', ''].join('\r\n')
    raw.send([get + get + put('behind').join('\r\n')], '1\r\nv\r\n0\r\n\r\n')
    const text = await raw.until(/HTTP.*HTTP.*HTTP.*\}$/s)
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(Array(3).fill('HTTP/1.1 200'))
    expect(text.length).toBeGreaterThan(6_000_000)
    expect(await stored('behind')).toBe('v')
  })

  it('is followed by others of its connection', async () => {
    await using raw = await Raw.overTcp(serving)
    const requests = ['a', 'b', 'c'].map(
      (value) => `${put(value).join('\r\n')}\r\n\r\n1\r\n${value}\r\n0\r\n\r\n`,
    )
    const get = `${['GET /v1/kv/c HTTP/1.1', ...put('c').slice(1, 3)].join('\r\n')}\r\n\r\n`
    raw.socket.write(requests.join('') + get + requests[0])
    await raw.until(/(HTTP.*){5}\}$/s)
    expect(raw.text.match(/HTTP\/1\.1 \d+/g)).toEqual(Array(5).fill('HTTP/1.1 200'))
    expect(await Promise.all(['a', 'b', 'c'].map(stored))).toEqual(['a', 'b', 'c'])
    raw.send(put('a', 'Connection: close'), '1\r\nz\r\n0\r\n\r\n')
    expect(await raw.end()).toMatch(/connection: close\r\n/i)
    expect(await stored('a')).toBe('z')
  })

  it('is asked for with 100, and refused for another expectation', async () => {
    await using raw = await Raw.overTcp(serving)
    raw.send(put('expected', 'Expect: 100-continue'))
    await raw.until(/^HTTP\/1\.1 100 Continue\r\n\r\n/)
    raw.socket.write('1\r\nv\r\n0\r\n\r\n')
    expect(await raw.until(/\}$/)).toMatch(/HTTP\/1\.1 200 /)
    await using other = await Raw.overTcp(serving)
    other.send(put('expected', 'Expect: more'), '1\r\nw\r\n0\r\n\r\n')
    expect(refusalIn(await other.until(/\}\}$/))).toBe('417 EINVAL')
    expect(await stored('expected')).toBe('v')
  })

  it.each([
    ['is no chunk', (raw: Raw) => raw.socket.write('2\r\nvvv'), '400 EINVAL'],
    ['ends early', (raw: Raw) => raw.socket.end('2\r\nv'), '400 EINVAL'],
    ['is cut', (raw: Raw) => raw.socket.resetAndDestroy(), undefined],
  ])('that %s leaves the old value', async (_, act, refusal) => {
    await serving.store.put('old', 'value')
    await using raw = await Raw.overTcp(serving)
    raw.send(put('old', 'Expect: 100-continue'))
    await raw.until(/100 Continue/)
    act(raw)
    const text = await raw.end()
    if (refusal !== undefined) expect(refusalIn(text.replace(/^.*?\r\n\r\n/s, ''))).toBe(refusal)
    expect(await stored('old')).toBe('value')
    await expect
      .poll(() => serving.ask('GET', '/v1/status').then(({ json }) => json))
      .toMatchObject({ connections: 0 })
  })
})
