/** The durable engine on a disk that fails: a write of the journal, or of the tables behind it. See rfc/4,
 *  rule 22. */

import { closeSync, constants, openSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Engine, Head } from '../../src/engine/engine.js'
import { openLocal } from '../../src/engine/local-open.js'
import type { LocalBounds } from '../../src/engine/local-state.js'
import { segmentName } from '../../src/journal/segment.js'
import { advance, blobOf, codeOf, historyOf, make, next, temporaryDirectory } from './fixture.js'

const open = (path: string, bounds: LocalBounds = {}) =>
  openLocal(path, { environment: systemEnvironment, bounds })

/** From now on each write to a file fails: its descriptors become those of `target`, opened with
 *  `flags`. */
function replace(path: string, target: string, flags: number): void {
  let count = 0
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name)
    if (linkOf(fd) !== path) continue
    closeSync(fd)
    expect(openSync(target, flags)).toBe(fd) // the lowest that is free
    count++
  }
  expect(count).toBeGreaterThan(0)
}

function linkOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return '' // the descriptor that listed the others
  }
}

async function expectReadOnly(engine: Engine, head: Head): Promise<void> {
  expect(await engine.commit([next(head, 'three')])).toMatchObject([{ applied: 'no' }])
  expect(await codeOf(engine.put([blobOf('more')]))).toBe('EIO')
  await expect(make(engine, 'm')).rejects.toThrow('read-only until it is opened again')
  expect(await codeOf(engine.remove('n', 'n-1'))).toBe('EIO')
  // Reads go on.
  expect(await engine.root('n')).toEqual(head)
  expect(await historyOf(engine, 'n')).toEqual(['n-1/0', 'one'])
  expect(await engine.load([head.root.ref])).not.toEqual([undefined])
}

test('a write of the journal that fails is EIO, and the store read-only', async () => {
  await using directory = await temporaryDirectory()
  const engine = await open(directory.path)
  const head = await advance(engine, await make(engine, 'n'), 'one')
  const segment = join(directory.path, 'journal', segmentName(1))
  replace(segment, segment, constants.O_RDONLY)

  const part = next(head, 'two')
  const [first] = await engine.commit([part])
  expect(first).toMatchObject({ status: 'unavailable', applied: 'unknown' })
  expect(first?.status === 'unavailable' && first.error.code).toBe('EIO')
  // Asked again, the same commit is as unknown as before; another is certain not to be stored.
  expect(await engine.commit([part])).toMatchObject([{ applied: 'unknown' }])
  await expectReadOnly(engine, head)
  await engine[Symbol.asyncDispose]()

  await using again = await open(directory.path)
  expect(await again.root('n')).toEqual(head)
  expect(await again.commit([part])).toMatchObject([{ status: 'applied' }])
})

test('a sync of the tables that fails is EIO for the next write, and loses nothing', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { flushCount: 8 }
  const engine = await open(directory.path, bounds)
  const head = await advance(engine, await make(engine, 'n'), 'one')
  replace(join(directory.path, 'data.mdb'), '/dev/null', constants.O_WRONLY)

  // The journal takes writes until it is known that the tables cannot follow.
  const stored = []
  let code = ''
  for (let at = 0; code === '' && at < 100; at++) {
    const blob = blobOf(`blob ${at}`)
    code = await engine.put([blob]).then(
      () => '',
      ({ code: of }) => of,
    )
    if (code === '') stored.push(blob)
  }
  expect(code).toBe('EIO')
  expect(stored.length).toBeGreaterThan(1)
  await expectReadOnly(engine, head)
  const refs = stored.map(({ ref }) => ref)
  expect(await engine.load(refs)).toEqual(stored.map(({ bytes }) => Buffer.from(bytes)))
  await engine[Symbol.asyncDispose]()

  await using again = await open(directory.path, bounds)
  expect(await again.root('n')).toEqual(head)
  expect(await again.load(refs)).toEqual(stored.map(({ bytes }) => Buffer.from(bytes)))
  await advance(again, head, 'two')
})
