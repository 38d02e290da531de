/** The LMDB engine on a disk that fails: what is written goes nowhere, and its sync says so. */

import { closeSync, constants, openSync, readdirSync, readlinkSync } from 'node:fs'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { openLmdb } from '../../src/engine/lmdb.js'
import { advance, blobOf, codeOf, historyOf, make, next, temporaryDirectory } from './fixture.js'

const open = (path: string) => openLmdb(path, { environment: systemEnvironment })

/** From now on each sync of the store fails: its descriptors become those of a device that takes every write and
 *  can sync none. */
function breakSyncs(directory: string): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name)
    if (linkOf(fd) !== `${directory}/data.mdb`) continue
    closeSync(fd)
    expect(openSync('/dev/null', constants.O_WRONLY)).toBe(fd) // the lowest that is free
  }
}

function linkOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return '' // the descriptor that listed the others
  }
}

test('a sync that fails for another reason than space is EIO, and the store read-only', async () => {
  await using directory = await temporaryDirectory()
  const engine = await open(directory.path)
  const head = await advance(engine, await make(engine, 'n'), 'one')
  breakSyncs(directory.path)

  const part = next(head, 'two')
  const [first] = await engine.commit([part])
  expect(first).toMatchObject({ status: 'unavailable', applied: 'unknown' })
  expect(first?.status === 'unavailable' && first.error.code).toBe('EIO')
  // Asked again, the same commit is as unknown as before; another is certain not to be stored.
  expect(await engine.commit([part])).toMatchObject([{ applied: 'unknown' }])
  expect(await engine.commit([next(head, 'three')])).toMatchObject([{ applied: 'no' }])
  expect(await codeOf(engine.put([blobOf('more')]))).toBe('EIO')
  await expect(make(engine, 'm')).rejects.toThrow('read-only until it is opened again')
  expect(await codeOf(engine.remove('n', 'n-1'))).toBe('EIO')

  // Reads go on.
  expect(await engine.root('n')).toEqual(head)
  expect(await historyOf(engine, 'n')).toEqual(['n-1/0', 'one'])
  expect(await engine.load([head.root.ref])).not.toEqual([undefined])
  await engine[Symbol.asyncDispose]()

  // The owner record stays, since nothing may be written; this process still knows that it let go.
  await using again = await open(directory.path)
  expect(await again.root('n')).toEqual(head)
  expect(await again.commit([part])).toMatchObject([{ status: 'applied' }])
})
