/** Reads of small values from memory: they are what `readMany` gives, or nothing. */

import { expect, it } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { open } from '../../src/open.js'
import { inlineSizeMax } from '../../src/treeobj/treeobj.js'

it('readNow() gives what readMany() gives, and nothing for what is not in memory', async () => {
  await using store = await open()
  await store.put('small', Buffer.alloc(inlineSizeMax, 1))
  await store.put('a/b', 'x')
  await store.put('large', Buffer.alloc(inlineSizeMax + 1))
  await store.put('larger', Buffer.alloc(blobSizeMax + 1))
  await store.commit({ ops: [{ op: 'symlink', key: 'link', target: 'small' }] })
  const keys = ['small', 'a/b', 'missing', 'small/below', '/a//b']
  expect(store.readNow(keys)).toEqual(await store.readMany(keys))
  for (const key of ['large', 'larger', 'link', 'a', '']) {
    expect(store.readNow(['small', key])).toBeUndefined()
  }
  expect(store.readNow(Array.from({ length: 1_000 }, () => 'small'))).toBeUndefined()
  expect(() => store.readNow(['small'], 'nowhere')).toThrow(
    expect.objectContaining({ code: 'ENONS' }),
  )
  expect(() => store.readNow(['a/../b'])).toThrow(expect.objectContaining({ code: 'EINVAL' }))
})
