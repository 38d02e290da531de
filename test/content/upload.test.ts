/** Uploads: any length in, durable blobs out, a few of them in memory. See rfc/3. */

import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { deferred } from '../../src/base/deferred.js'
import { systemEnvironment } from '../../src/base/environment.js'
import { type Blob, blobSizeMax, cut } from '../../src/blob/blob.js'
import { hashBlob } from '../../src/blob/hash.js'
import { Content } from '../../src/content/content.js'
import { type Uploaded, upload, uploadBatchCount } from '../../src/content/upload.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TailraceError } from '../../src/error.js'

/** `count` full blobs, each another, and then `rest` bytes. */
async function* blobs(count: number, rest = 0): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < count; at++) yield Buffer.alloc(blobSizeMax, at)
  if (rest > 0) yield Buffer.alloc(rest, 0xff)
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

test.each([
  [0, 0],
  [0, 1],
  [1, 0],
  [1, 1],
  [uploadBatchCount - 1, 5],
  [uploadBatchCount, 0],
  [uploadBatchCount, 1],
  [2 * uploadBatchCount, 0],
  [2 * uploadBatchCount + 3, 7],
])('upload() of %i full blobs and %i bytes gives the refs of cut()', async (count, rest) => {
  const engine = new MemoryEngine(systemEnvironment)
  const content = new Content(engine)
  const value = Buffer.concat(await collect(blobs(count, rest)))
  const expected = cut(value).map((piece) => ({ ref: hashBlob(piece), size: piece.length }))
  const uploaded = await collect(content.upload(blobs(count, rest)))
  expect(uploaded.map(({ ref, size }) => ({ ref, size }))).toEqual(expected)
  expect(uploaded.map(({ more }) => more)).toEqual(
    expected.map((_, at) => at < expected.length - 1),
  )
  const stored = await engine.load(uploaded.map(({ ref }) => ref))
  expect(Buffer.concat(stored.map((bytes) => bytes ?? Buffer.from('missing'))).equals(value)).toBe(
    true,
  )
})

test('what upload() yields is durable, and the rest of the stream waits for it', async () => {
  let read = 0
  const source = (async function* () {
    for await (const chunk of blobs(100)) {
      read++
      yield chunk
    }
  })()
  const puts: { readonly blobs: readonly Blob[]; readonly done: () => void }[] = []
  const began = [deferred<void>(), deferred<void>()]
  const put = async (blobs: readonly Blob[]) => {
    const { promise, resolve } = deferred<void>()
    puts.push({ blobs, done: () => resolve() })
    began[puts.length - 1]?.resolve()
    await promise
  }
  const stream = upload(source, put)
  let answered = false
  const first = stream.next().then((answer) => {
    answered = true
    return answer
  })
  await began[0]?.promise
  // While the first batch is on its way, the second fills and then waits.
  const readMax = 2 * uploadBatchCount + 1
  while (read < readMax) await Promise.resolve()
  for (let turn = 0; turn < 1000; turn++) await Promise.resolve()
  expect({ answered, read, puts: puts.length }).toEqual({ answered: false, read: readMax, puts: 1 })
  puts[0]?.done()
  expect(await first).toMatchObject({ value: { ref: puts[0]?.blobs[0]?.ref, more: true } })
  const ended = stream.return(undefined)
  puts[1]?.done()
  await ended
  expect(read).toBe(readMax)
})

test('an abort ends an upload whose client says no more', async () => {
  const controller = new AbortController()
  const content = new Content(new MemoryEngine(systemEnvironment))
  const asked = deferred<void>()
  const silent = (async function* () {
    yield Buffer.from('begun')
    asked.resolve()
    await deferred<void>().promise
  })()
  const uploading = collect(content.upload(silent, controller.signal))
  await asked.promise
  controller.abort()
  await expect(uploading).rejects.toMatchObject({ code: 'ECANCELED' })
})

test('a failed put fails the upload with its error, also while the next batch fills', async () => {
  const full = new TailraceError('ENOSPC', 'the disk is full')
  let puts = 0
  const put = async () => {
    puts++
    if (puts === 2) throw full
  }
  // Slow enough that the second put has failed long before it is asked for.
  const slow = (async function* () {
    for await (const chunk of blobs(10 * uploadBatchCount)) {
      await setImmediate()
      yield chunk
    }
  })()
  const uploaded: Uploaded[] = []
  const failing = (async () => {
    for await (const blob of upload(slow, put)) uploaded.push(blob)
  })()
  await expect(failing).rejects.toBe(full)
  expect(uploaded.length).toBe(uploadBatchCount)
})

test('an error of the source comes through, after which nothing is on its way', async () => {
  let open = 0
  const put = async () => {
    open++
    await setImmediate()
    open--
  }
  const source = (async function* () {
    yield* blobs(uploadBatchCount + 1)
    throw new TailraceError('EIO', 'the client went away')
  })()
  await expect(collect(upload(source, put))).rejects.toMatchObject({ code: 'EIO' })
  expect(open).toBe(0)
})
