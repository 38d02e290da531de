/** Reads of small values from memory: they are what `readMany` gives, or nothing. */

import { expect, it } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { open } from '../../src/open.js'
import { inlineSizeMax } from '../../src/treeobj/treeobj.js'

it('readNow() gives what readMany() gives, and nothing for what is not in memory', async () => {
  await using store = await open()
  await store.put('small', Buffer.alloc(inlineSizeMax, 1))
  await store.put('a/b', 'x')
  await store.put('one blob', Buffer.alloc(inlineSizeMax + 1, 2))
  await store.put('large', Buffer.alloc(blobSizeMax))
  await store.append('log', 'a')
  await store.append('log', 'b')
  await store.append('trimmed', 'a')
  await store.append('trimmed', 'b')
  await store.commit({ ops: [{ op: 'trim', key: 'trimmed', keep: 1 }] })
  await store.commit({ ops: [{ op: 'symlink', key: 'link', target: 'small' }] })
  const keys = ['small', 'one blob', 'a/b', 'missing', 'small/below', '/a//b']
  expect(store.readNow(keys)).toEqual(await store.readMany(keys))
  for (const key of ['large', 'log', 'trimmed', 'link', 'a', '']) {
    expect(store.readNow(['small', key])).toBeUndefined()
  }
  expect(store.readNow(Array.from({ length: 1_000 }, () => 'small'))).toBeUndefined()
  expect(() => store.readNow(['small'], 'nowhere')).toThrow(
    expect.objectContaining({ code: 'ENONS' }),
  )
  expect(() => store.readNow(['a/../b'])).toThrow(expect.objectContaining({ code: 'EINVAL' }))
})

it('readNow() gives at most 64 KiB', async () => {
  await using store = await open()
  const half = Buffer.alloc(32 * 1024)
  for (const key of ['a', 'b', 'c']) await store.put(key, half)
  expect(store.readNow(['a', 'b'])?.values).toEqual([half, half])
  expect(store.readNow(['a', 'b', 'c'])).toBeUndefined()
})
