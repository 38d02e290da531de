/** The LMDB engine on a file with a damaged page: what is whole is read. See rfc/4, rule 22. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { type Blobref, digestSize, writeDigest } from '../../src/blob/blobref.js'
import { openLmdb } from '../../src/engine/lmdb.js'
import { blobOf, codeOf, temporaryDirectory } from './fixture.js'

const open = (path: string) => openLmdb(path, { environment: systemEnvironment })

test('after a read that meets a damaged page, the others are read as before', async () => {
  await using directory = await temporaryDirectory()
  const blobs = Array.from({ length: 8 }, (_, n) => blobOf(`${n} `.repeat(10_000)))
  const [hurt, ...whole] = blobs
  if (!hurt) throw new Error('there are blobs')
  const engine = await open(directory.path)
  await engine.put(blobs)
  await engine[Symbol.asyncDispose]()
  await misdirect(join(directory.path, 'data.mdb'), digestOf(hurt.ref))

  await using again = await open(directory.path)
  const codes = await Promise.all(
    [hurt, ...whole].map((blob) => codeOf(again.load([blob.ref]).then(([bytes]) => bytes))),
  )
  expect(codes[0]).toBe('ECORRUPT')
  expect(await Promise.all(whole.map((blob) => again.load([blob.ref])))).toEqual(
    whole.map((blob) => [Buffer.from(blob.bytes)]),
  )
  expect(await codeOf(again.load([hurt.ref]))).toBe('ECORRUPT')
  // In the same turn of the event loop.
  const both = await Promise.allSettled([
    again.load([hurt.ref]),
    again.load([blobs[1]?.ref ?? hurt.ref]),
  ])
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
})

function digestOf(ref: Blobref): Buffer {
  const digest = Buffer.alloc(digestSize)
  writeDigest(ref, digest, 0)
  return digest
}

/** Lets a large value's node name a page that is not there: the page's number follows the key. */
async function misdirect(file: string, digest: Uint8Array): Promise<void> {
  const content = await readFile(file)
  let count = 0
  for (let at = content.indexOf(digest); at >= 0; at = content.indexOf(digest, at + 1)) {
    const page = content.readBigUInt64LE(at + digest.length)
    if (page === 0n || page > BigInt(content.length / 4_096)) continue
    content.writeBigUInt64LE(0xff_ffffn, at + digest.length)
    count++
  }
  if (count === 0) throw new Error('no node names the value')
  await writeFile(file, content)
}
