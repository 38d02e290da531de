/** The messages of one turn of the event loop: one write, and the same messages at the other end. */

import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameBatch } from '../../src/client/frame-batch.js'

/** Reads frames as RFC 6455, 5.2, has them. */
function messagesIn(bytes: Buffer): { readonly key: number; readonly message: Buffer }[] {
  const messages = []
  for (let at = 0; at < bytes.length; ) {
    expect(bytes[at]).toBe(0x82)
    const short = (bytes[at + 1] ?? 0) - 0x80
    at += 2
    let length = short
    if (short === 126) {
      length = bytes.readUInt16BE(at)
      expect(length).toBeGreaterThan(125)
      at += 2
    } else if (short === 127) {
      length = Number(bytes.readBigUInt64BE(at))
      expect(length).toBeGreaterThan(0xffff)
      at += 8
    }
    const key = bytes.subarray(at, at + 4)
    at += 4
    const message = Buffer.from(bytes.subarray(at, at + length))
    expect(message.length).toBe(length)
    for (let each = 0; each < length; each++)
      message[each] = (message[each] ?? 0) ^ (key[each & 3] ?? 0)
    messages.push({ key: key.readUInt32BE(), message })
    at += length
  }
  return messages
}

describe.each([true, false])('with masking: %s', (mask) => {
  it('sends what one turn adds as one write, and each message as it was', async () => {
    const sizes = fc.oneof(
      fc.nat({ max: 300 }),
      fc.constantFrom(0, 125, 126, 0xffff, 0x1_0000, 200_000),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(sizes, { maxLength: 5 }), { maxLength: 4 }),
        async (turns) => {
          const writes: Buffer[] = []
          const batch = new FrameBatch((bytes) => writes.push(Buffer.from(bytes)), { mask })
          const sent: Buffer[] = []
          for (const added of turns) {
            const before = writes.length
            for (const size of added) {
              const message = Buffer.alloc(size, size)
              sent.push(Buffer.from(message))
              batch.add(message)
              message.fill('x')
            }
            await turn()
            const sum = added.reduce((all, size) => all + size + 14, 0)
            if (sum < 64 * 1024) expect(writes.length - before).toBeLessThanOrEqual(2)
          }
          const messages = messagesIn(Buffer.concat(writes))
          expect(messages.length).toBe(sent.length)
          expect(messages.every(({ message }, at) => sent[at]?.equals(message))).toBe(true)
          if (!mask) expect(messages.every(({ key }) => key === 0)).toBe(true)
        },
      ),
      { numRuns: 40 },
    )
  })

  it('joins what the continuations of one turn add', async () => {
    const writes: number[] = []
    const batch = new FrameBatch((bytes) => writes.push(bytes.length), { mask })
    const add = async () => {
      await undefined
      await undefined
      batch.add(Buffer.from('x'))
    }
    await Promise.all(Array.from({ length: 50 }, add))
    await turn()
    expect(writes).toEqual([50 * 7])
  })

  it('writes no bytes again that it handed out', async () => {
    const writes: Uint8Array[] = []
    const batch = new FrameBatch((bytes) => writes.push(bytes), { mask })
    const sent = Array.from({ length: 2_000 }, (_, at) => Buffer.from(`${at}`.repeat(20)))
    for (const message of sent) {
      batch.add(message)
      batch.flush()
    }
    expect(messagesIn(Buffer.concat(writes)).map(({ message }) => message)).toEqual(sent)
  })
})

it('masks each message with another key', async () => {
  const writes: Uint8Array[] = []
  const batch = new FrameBatch((bytes) => writes.push(Buffer.from(bytes)), { mask: true })
  for (let each = 0; each < 1_000; each++) batch.add(Buffer.from('x'))
  batch.flush()
  const keys = messagesIn(Buffer.concat(writes)).map(({ key }) => key)
  expect(new Set(keys).size).toBeGreaterThan(990)
})
