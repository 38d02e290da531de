/** Reading ahead: pieces grow while their consumer is busy, and nothing is lost. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Wakeup } from '../../src/base/wakeup.js'
import { readAhead, readAheadMax } from '../../src/cli/stdin.js'

describe('readAhead()', () => {
  it('gives every byte once, in order, whoever is slower', async () => {
    const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 5 }), { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(chunks, fc.scheduler(), async (parts, scheduler) => {
        async function* source() {
          for (const part of parts) {
            await scheduler.schedule(Promise.resolve())
            yield part
          }
        }
        const came: Uint8Array[] = []
        const consume = async () => {
          for await (const piece of readAhead(source())) {
            came.push(piece)
            await scheduler.schedule(Promise.resolve())
          }
        }
        const consumed = consume()
        await scheduler.waitFor(consumed)
        expect(Buffer.concat(came).equals(Buffer.concat(parts))).toBe(true)
        expect(came.every(({ length }) => length > 0)).toBe(true)
      }),
    )
  })

  it('joins what came while its consumer was busy', async () => {
    const read = new Wakeup()
    async function* source() {
      for (const text of ['a', 'b', 'c']) {
        yield Buffer.from(text)
        read.wake()
      }
    }
    const pieces = readAhead(source())
    const first = await pieces.next()
    expect(String(first.value)).toBe('a')
    while (read.count < 3) await read.wait(read.count)
    const second = await pieces.next()
    expect(String(second.value)).toBe('bc')
    expect((await pieces.next()).done).toBe(true)
  })

  it('reads no more than its bound ahead, and throws what the source throws, last', async () => {
    const size = readAheadMax / 2
    let read = 0
    async function* source() {
      for (let at = 0; at < 5; at++) {
        read++
        yield new Uint8Array(size)
      }
      throw new Error('cut')
    }
    const pieces = readAhead(source())
    let bytes = (await pieces.next()).value?.length ?? 0
    await expect.poll(() => read).toBe(4)
    const drained = async () => {
      for await (const piece of pieces) bytes += piece.length
    }
    await expect(drained()).rejects.toThrow('cut')
    expect(bytes).toBe(5 * size)
  })
})
