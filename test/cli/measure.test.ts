/** What the demo takes for a failure, over an embedded store whose job output is written by hand. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { jobsNamespace } from '../../src/api/namespace.js'
import { measureReplay } from '../../src/cli/measure.js'
import { Ripple } from '../../src/cli/ripple.js'
import { encodeHeader, type Stream } from '../../src/eventlog/stdio.js'
import { outputKey } from '../../src/job/keys.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { encodeData } from '../eventlog/output-event.js'

const shape = { length: 7, count: 30 }
const printed = Buffer.concat([...new Ripple(7, 30).pieces(0, 240)])

let store: EmbeddedStore
beforeEach(async () => {
  store = await open()
})
afterEach(() => store[Symbol.asyncDispose]())

type Piece = { readonly offset: number; readonly bytes: Uint8Array; readonly stream?: Stream }

/** The output of job `id`: the header, then each piece as an append, then the seal. */
async function write(pieces: readonly Piece[]): Promise<void> {
  const blobs = pieces.map(({ offset, bytes, stream = 'stdout' }) => {
    const offsets = { stdout: offset, stderr: 0 }
    return encodeData({ stream, timestamp: 1, offsets }, bytes)
  })
  const key = outputKey('id')
  for (const value of [encodeHeader(1), ...blobs]) {
    await store.kvs.append(key, value, { namespace: jobsNamespace })
  }
  await store.kvs.commit({ ops: [{ op: 'seal', key }] }, { namespace: jobsNamespace })
}

function pieceOf(start: number, end: number): Piece {
  return { offset: start, bytes: printed.subarray(start, end) }
}

describe('measureReplay()', () => {
  it('of what lptest prints counts bytes and appends', async () => {
    await write([pieceOf(0, 100), pieceOf(100, 240)])
    expect(await measureReplay(store, 'id', shape)).toMatchObject({ bytes: 240, appends: 3 })
  })

  it.each<[string, () => Piece[], RegExp]>([
    ['a byte that differs', () => [pieceOf(0, 100), changed(150)], /byte 150 /],
    ['an append that came twice', () => [pieceOf(0, 100), pieceOf(0, 100)], /offset 0, not 100/],
    ['bytes that are missing', () => [pieceOf(0, 100)], /100 bytes came, not 240/],
    ['bytes too many', () => [pieceOf(0, 240), { offset: 240, bytes: printed }], /byte 240 /],
    [
      'what lptest complains of',
      () => [{ offset: 0, bytes: Buffer.from('oh'), stream: 'stderr' }],
      /said: oh/,
    ],
  ])('fails on %s', async (_, pieces, message) => {
    await write(pieces())
    const failing = measureReplay(store, 'id', shape)
    await expect(failing).rejects.toMatchObject({ code: 'ECORRUPT' })
    await expect(failing).rejects.toThrow(message)
  })
})

function changed(at: number): Piece {
  const bytes = Buffer.from(printed.subarray(100))
  bytes.writeUInt8(bytes.readUInt8(at - 100) ^ 1, at - 100)
  return { offset: 100, bytes }
}
