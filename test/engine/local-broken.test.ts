/** The durable engine on a disk that fails: a write of the journal, or of the tables behind it. See rfc/4,
 *  rule 22. */

import { constants } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Blobref } from '../../src/blob/blobref.js'
import type { Engine, Head } from '../../src/engine/engine.js'
import { openTables } from '../../src/engine/lmdb.js'
import { openLocal } from '../../src/engine/local-open.js'
import type { LocalBounds } from '../../src/engine/local-state.js'
import { indexKey } from '../../src/engine/record.js'
import { Writes } from '../../src/engine/tables.js'
import { segmentName } from '../../src/journal/segment.js'
import { replaceDescriptors } from '../support/descriptors.js'
import { misdirect } from '../support/store-files.js'
import { advance, blobOf, codeOf, historyOf, make, next, temporaryDirectory } from './fixture.js'

const open = (path: string, bounds: LocalBounds = {}) =>
  openLocal(path, { environment: systemEnvironment, bounds })

async function loaded(engine: Engine, refs: readonly Blobref[]): Promise<(Buffer | undefined)[]> {
  return (await engine.load(refs)).map((bytes) => bytes && Buffer.from(bytes))
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
  replaceDescriptors(segment, segment, { flags: constants.O_RDONLY })

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

test.each([
  { what: 'page', target: '/dev/null', flags: constants.O_WRONLY, synced: false },
  // LMDB begins no transaction after that one.
  { what: 'meta page', target: '', flags: constants.O_RDONLY, synced: true },
])(
  'a $what of the tables that cannot be written is EIO for the next write, and loses nothing',
  async ({ target, flags, synced }) => {
    await using directory = await temporaryDirectory()
    const bounds = { flushCount: 8 }
    const before = Array.from({ length: 20 }, (_, at) => blobOf(`before ${at}`))
    let head: Head
    {
      await using first = await open(directory.path, bounds)
      head = await advance(first, await make(first, 'n'), 'one')
      await first.put(before)
    }
    const engine = await open(directory.path, bounds) // with everything in the tables
    const tables = join(directory.path, 'data.mdb')
    replaceDescriptors(tables, target || tables, { flags, synced })

    // The journal takes writes until it is known that the tables cannot follow.
    const stored = [...before]
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
    expect(stored.length).toBeGreaterThan(before.length)
    await expectReadOnly(engine, head)
    const refs = stored.map(({ ref }) => ref)
    expect(await loaded(engine, refs)).toEqual(stored.map(({ bytes }) => Buffer.from(bytes)))
    await engine[Symbol.asyncDispose]()

    await using again = await open(directory.path, bounds)
    expect(await again.root('n')).toEqual(head)
    expect(await loaded(again, refs)).toEqual(stored.map(({ bytes }) => Buffer.from(bytes)))
    await advance(again, head, 'two')
  },
)

test('a flush for which the system says that the disk is full is tried again', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await open(directory.path, { flushCount: 8 })
  await make(engine, 'n')
  const tables = join(directory.path, 'data.mdb')
  replaceDescriptors(tables, '/dev/full', { flags: constants.O_WRONLY })
  const put = (at: number) => codeOf(engine.put([blobOf(`blob ${at}`)]))

  // The journal takes writes until too many wait for the tables. A probe would find space.
  let stored = 0
  let code = 'no error'
  for (; stored < 100; stored++) {
    code = await put(stored)
    if (code !== 'no error') break
  }
  expect(code).toBe('ENOSPC')
  replaceDescriptors('/dev/full', tables, { flags: constants.O_RDWR })
  expect(await put(stored)).toBe('no error')
  const refs = Array.from({ length: stored + 1 }, (_, at) => blobOf(`blob ${at}`).ref)
  expect(await engine.has(refs)).not.toContain(false)
})

test('tables whose meta page could not be written refuse every later write', async () => {
  await using directory = await temporaryDirectory()
  const tables = await openTables(directory.path)
  const write = (key: string) => {
    const writes = new Writes()
    writes.put(tables.meta, Buffer.from(key), Buffer.of(1))
    return tables.write(writes)
  }
  await write('one')
  const path = join(directory.path, 'data.mdb')
  replaceDescriptors(path, path, { flags: constants.O_RDONLY, synced: true })
  await expect(write('two')).rejects.toThrow()
  expect(tables.writable()).toBe(false)
  await expect(write('three')).rejects.toThrow('no write is possible after one that failed')
  expect([...tables.meta.keys({})].map(String)).toEqual(['one'])
  await tables.close()
})

test('after a read that met a damaged page while the tables failed, no key is said to be missing', async () => {
  await using directory = await temporaryDirectory()
  const keys = Array.from({ length: 3_000 }, (_, n) => blobOf(`${n} `.repeat(10))).map(
    (blob) => [indexKey(blob.ref), blob] as const,
  )
  {
    await using engine = await open(directory.path)
    await engine.put(keys.map(([, blob]) => blob))
  }
  const path = join(directory.path, 'data.mdb')
  await misdirect(path)
  const tables = await openTables(directory.path)
  replaceDescriptors(path, path, { flags: constants.O_RDONLY, synced: true })
  const writes = new Writes()
  writes.put(tables.meta, Buffer.from('key'), Buffer.of(1))
  const written = codeOf(tables.write(writes))
  const codeOfRead = (read: () => unknown) => codeOf((async () => read())())
  const codes = await Promise.all(keys.map(([key]) => codeOfRead(() => tables.index.get(key))))
  expect(new Set(codes)).toEqual(new Set(['ECORRUPT', 'no error']))
  expect([...tables.meta.keys({})]).not.toEqual([]) // the library keeps the cursor of this one

  expect(await written).not.toBe('no error')
  const [whole = Buffer.of()] = keys[codes.indexOf('no error')] ?? []
  expect(await codeOfRead(() => tables.index.get(whole))).toBe('EIO')
  expect(await codeOfRead(() => [...tables.meta.keys({})])).toBe('EIO')
  await tables.close()
})
