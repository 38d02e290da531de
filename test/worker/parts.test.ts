/** The parts of workers that need no process: batches, decisions, errors, and what is counted of inputs. See
 *  rfc/25, rules 5, 8, 10 and 12. */

import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TailraceError } from '../../src/error.js'
import { BatchReader, type Envelope, writeBatch } from '../../src/worker/batches.js'
import { decide, decisionsMax, newDecisions } from '../../src/worker/decisions.js'
import { InputMemory } from '../../src/worker/input-memory.js'
import { hearLines } from '../../src/worker/lines.js'
import { parseFromWorker, parseToWorker } from '../../src/worker/protocol.js'
import { sentErrorOf, thrownOf } from '../../src/worker/sent-error.js'

describe('batches', () => {
  const part = fc.uint8Array({ maxLength: 200 })
  const envelope = fc.record({
    body: fc.record({ type: fc.string(), seq: fc.nat(), some: fc.array(fc.string()) }),
    parts: fc.array(part, { maxLength: 4 }),
  })
  const batches = fc.array(fc.array(envelope, { minLength: 1, maxLength: 4 }), { maxLength: 4 })

  async function bytesOf(all: readonly (readonly Envelope[])[]): Promise<Buffer> {
    const stream = new PassThrough()
    const read = buffer(stream)
    for (const batch of all) writeBatch(stream, batch)
    stream.end()
    return read
  }

  it('come back as they were, wherever the stream is cut', async () => {
    await fc.assert(
      fc.asyncProperty(batches, fc.array(fc.integer({ min: 1, max: 50 })), async (all, cuts) => {
        const bytes = await bytesOf(all)
        const got: (readonly Envelope[])[] = []
        const reader = new BatchReader((batch) => got.push(batch))
        let at = 0
        for (const cut of cuts) {
          reader.take(bytes.subarray(at, at + cut))
          at += cut
        }
        reader.take(bytes.subarray(at))
        expect(got).toEqual(all)
      }),
    )
  })

  it('give a large part memory of its own', async () => {
    const large = new Uint8Array(300_000).fill(7)
    const got: (readonly Envelope[])[] = []
    const reader = new BatchReader((batch) => got.push(batch))
    reader.take(await bytesOf([[{ body: null, parts: [large, new Uint8Array([1])] }]]))
    const [first] = got[0]?.[0]?.parts ?? []
    expect(Buffer.compare(first ?? Buffer.of(), large)).toBe(0)
    expect(first?.buffer.byteLength).toBe(large.length)
  })

  it('that are none are refused', () => {
    const reader = new BatchReader(() => {})
    expect(() => reader.take(Buffer.alloc(8, 0xff))).toThrow('do not understand each other')
  })
})

it('messages that do not fit are EIO', () => {
  const refused = (body: unknown, parts: readonly Uint8Array[] = []) => {
    for (const parse of [parseToWorker, parseFromWorker]) {
      expect(() => parse({ body, parts })).toThrow('a message between a worker and its scheduler')
    }
  }
  refused(null)
  refused({ type: 'nothing' })
  refused({ type: 'done', seq: 1, times: { runMs: 1 } })
  refused({ type: 'call', seq: -1 })
  const times = { unpackMs: 0, runMs: 1, packMs: 0 }
  refused({ type: 'done', seq: 1, times })
  const done = { body: { type: 'done', seq: 1, times }, parts: [new Uint8Array()] }
  expect(parseFromWorker(done)).toEqual(done.body)
})

it('a call is decided about once, also after its place was used before', () => {
  const decisions = newDecisions()
  for (const seq of [1, 1 + decisionsMax, 1 + 2 * decisionsMax]) {
    expect(decide(decisions, seq, seq > decisionsMax ? 'begin' : 'take')).toBe(true)
    expect(decide(decisions, seq, 'begin')).toBe(false)
    expect(decide(decisions, seq, 'take')).toBe(false)
  }
})

describe('errors', () => {
  it('keep class, name, code, cause and stack', () => {
    const cause = new TypeError('deep')
    const error = Object.assign(new RangeError('top', { cause }), { code: 'EOWN' })
    const back = thrownOf(sentErrorOf(error))
    expect(back).toBeInstanceOf(RangeError)
    expect(back).toMatchObject({ message: 'top', code: 'EOWN', stack: error.stack })
    expect((back as Error).cause).toBeInstanceOf(TypeError)
    const own = Object.assign(new Error('x'), { name: 'OwnError' })
    expect(thrownOf(sentErrorOf(own))).toMatchObject({ name: 'OwnError', message: 'x' })
  })

  it('of ours stay ours', () => {
    const error = new TailraceError('ECONFLICT', 'no', { failed: { guard: 1 } })
    const back = thrownOf(sentErrorOf(error))
    expect(back).toBeInstanceOf(TailraceError)
    expect(back).toMatchObject({ code: 'ECONFLICT', failed: { guard: 1 } })
  })

  it('that are primitives stay so, and other things become errors; causes and texts are bounded', () => {
    for (const thrown of ['text', 7, true, null]) expect(thrownOf(sentErrorOf(thrown))).toBe(thrown)
    expect(thrownOf(sentErrorOf({ a: 1 }))).toMatchObject({ message: '{ a: 1 }' })
    const round: Error & { cause?: unknown } = new Error('x'.repeat(100_000))
    round.cause = round
    let depth = 0
    for (let at = thrownOf(sentErrorOf(round)); at instanceof Error; at = at.cause) depth++
    expect(depth).toBe(9)
    expect(sentErrorOf(round).message.length).toBe(64 * 1024 + 1)
  })
})

it('an error of a socket is none of its lines', async () => {
  const socket = new PassThrough()
  const [heard, errors]: [string[], unknown[]] = [[], []]
  socket.on('error', (error) => errors.push(error))
  hearLines(socket, (line) => {
    heard.push(line)
    if (heard.length === 2) socket.destroy(new Error('read ECONNRESET'))
  })
  socket.write('beat\n1 2\n3')
  await expect(once(socket, 'close')).rejects.toThrow('read ECONNRESET')
  expect([heard, errors.length]).toEqual([['beat', '1 2'], 1])
})

it('a worker has the inputs that were used last, and no more bytes than the bound', () => {
  const memory = new InputMemory(10)
  const sent = (key: string, size: number) => memory.keep([key], [{ key, size }])
  expect(sent('a', 4)).toEqual([])
  expect(sent('b', 4)).toEqual([])
  expect(memory.keep(['a'], [])).toEqual([])
  expect(sent('c', 4)).toEqual(['b'])
  expect(['a', 'b', 'c'].map((key) => memory.has(key))).toEqual([true, false, true])
  expect(sent('large', 11)).toEqual(['a', 'c', 'large'])
})
