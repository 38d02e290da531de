/** A disk that is really full (a small tmpfs): a clear ENOSPC, nothing half done, reads and watches go
 *  on, and writes too once there is space, without a restart. See rfc/4, rfc/6. */

import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { open } from '../../src/open.js'
import { smallDisk } from '../small-disk.js'
import { refusal } from './expect.js'

const mebibyte = 1024 * 1024

it('ENOSPC is said, reads go on, and space brings writes back', async (context) => {
  await using disk = await smallDisk(24 * mebibyte, context)
  const ballast = join(disk.directory, 'ballast')
  writeFileSync(ballast, Buffer.alloc(8 * mebibyte))
  await using store = await open({ directory: join(disk.directory, 'store') })
  const watching = store.watch('log', { mode: 'append', waitCreate: true })
  const first = watching.next()
  const chunk = (index: number) => Buffer.alloc(mebibyte, index)
  let stored = 0
  let failure: unknown
  while (failure === undefined && stored < 64) {
    await store.append('log', chunk(stored)).then(
      () => stored++,
      (error: unknown) => {
        failure = error
      },
    )
  }
  expect(failure).toMatchObject({ code: 'ENOSPC' })
  expect(stored).toBeGreaterThan(2)
  expect((await first).value).toMatchObject({ type: 'live' })
  expect((await watching.next()).value).toMatchObject({ type: 'append', index: 0 })

  // Everything that was answered is there, nothing else is, and it fails again as clearly.
  expect(await store.stat('log')).toMatchObject({ size: stored * mebibyte })
  expect((await store.root()).seq).toBe(stored)
  const another = randomBytes(2 * mebibyte) // not bytes that are stored already
  expect(await refusal(store.append('log', another))).toMatchObject({ code: 'ENOSPC' })
  for await (const blob of (await store.read('log', { from: (stored - 1) * mebibyte }))?.chunks ??
    []) {
    expect(blob.every((byte) => byte === stored - 1)).toBe(true)
  }

  await rm(ballast)
  await store.append('log', chunk(stored))
  await store.put('small', 'again')
  expect(await store.stat('log')).toMatchObject({ size: (stored + 1) * mebibyte })
  const { count = 0 } = (await store.stat('log')) ?? {}
  for (let index = 1; index < count; ) {
    const { value } = await watching.next()
    if (value?.type !== 'append') continue
    expect(value.index).toBe(index++)
  }
})
