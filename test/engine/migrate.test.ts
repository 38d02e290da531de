/** Stores of format 1, whose blobs were in LMDB (rfc/4, rule 20): the one in `fixtures`, made by the
 *  version before, is opened with everything that it had, whatever happens meanwhile. */

import { createHash } from 'node:crypto'
import { constants, cpSync, rmSync } from 'node:fs'
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, type TestContext, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Blob } from '../../src/blob/blob.js'
import { encode } from '../../src/blob/codec.js'
import { openTables } from '../../src/engine/lmdb.js'
import { openLocal } from '../../src/engine/local-open.js'
import { isOlder, migrate } from '../../src/engine/migrate.js'
import { encodePlace, indexKey, uint64 } from '../../src/engine/record.js'
import { Writes } from '../../src/engine/tables.js'
import { hasSystemCode } from '../../src/error.js'
import { checkStore, open } from '../../src/open.js'
import { smallDisk } from '../small-disk.js'
import { replaceDescriptors } from '../support/descriptors.js'
import { log, oldContent, oldContentOf, text, unpackOld } from '../support/old-store.js'
import { blobOf, codeOf, temporaryDirectory } from './fixture.js'

/** Opens a store, looks that everything is there, writes, and opens it again. */
async function isWhole(directory: string): Promise<void> {
  for (const turn of ['first', 'second']) await isWholeOnce(directory, turn)
  expect((await checkStore({ directory })).findings).toEqual([])
}

async function isWholeOnce(directory: string, turn = 'once'): Promise<void> {
  {
    await using store = await open({ directory })
    expect(await oldContentOf(store)).toEqual(oldContent)
    await store.put('written', turn)
    expect(text(await store.get('written'))).toBe(turn)
    expect(await readdir(join(directory, 'store'))).not.toContain('migration')
  }
}

test('a store of format 1 has everything that it had, and is one of format 2', async () => {
  await using root = await temporaryDirectory()
  const directory = await unpackOld(join(root.path, 'store'))
  await isWhole(directory)
  const format = JSON.parse(await readFile(join(directory, 'format.json'), 'utf8'))
  expect(format.format).toBe(2)
  const tables = await openTables(join(directory, 'store'))
  expect(isOlder(tables.meta)).toBe(false)
  expect([...tables.table('blobs').keys({})]).toEqual([])
  await tables.close()
  const names = (await readdir(join(directory, 'store'))).sort()
  expect(names).toEqual(['data.mdb', 'journal', 'lock.mdb', 'owner.lock'])
})

test('a store that is migrated is the store that it was, where its files are', async () => {
  await using root = await temporaryDirectory()
  const directory = await unpackOld(join(root.path, 'store'))
  // Unpacked, it is a copy of the store that was packed: it takes an id of its own at this open.
  const idOf = async () => {
    await using engine = await openLocal(join(directory, 'store'), {
      environment: systemEnvironment,
    })
    return engine.storeId
  }
  const first = await idOf()
  expect(first).not.toBe('0a6e2f6935607e53cf08f01e968ca1b9')
  expect(await idOf()).toBe(first)
})

test('a store that was copied at any point of its migration is whole', async () => {
  await using root = await temporaryDirectory()
  const directory = await unpackOld(join(root.path, 'store'))
  const images: string[] = []
  let running = true
  const opening = openLocal(join(directory, 'store'), {
    environment: systemEnvironment,
    onMigration: () => copyNow(),
  }).finally(() => {
    running = false
  })
  // A copy that no other code of this process comes between. A removal that is under way on another thread may: then
  // there is none of that moment.
  const copyNow = () => {
    const image = join(root.path, `image-${images.length}`)
    try {
      cpSync(directory, image, { recursive: true })
      images.push(image)
    } catch (error) {
      if (!hasSystemCode(error, 'ENOENT')) throw error
      rmSync(image, { recursive: true, force: true })
    }
  }
  const states = new Set<string>()
  while (running) {
    const state = await stateOf(join(directory, 'store'))
    if (!states.has(state)) copyNow()
    states.add(state)
  }
  await (await opening)[Symbol.asyncDispose]()
  expect(images.length).toBeGreaterThan(2)
  for (const image of images.slice(-4)) await isWholeOnce(image)
})

/** What is there: the names, and roughly their sizes. */
async function stateOf(store: string): Promise<string> {
  const names = await readdir(store, { recursive: true }).catch((error: unknown) => {
    if (hasSystemCode(error, 'ENOENT')) return [] // a directory went while it was read
    throw error
  })
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(store, name)).then(
        ({ size }) => `${name} ${size >> 19}`,
        () => '',
      ),
    ),
  )
  return sizes.sort().join()
}

test('a crash before, between and behind the two renames leaves a store that is whole', async () => {
  await using root = await temporaryDirectory()
  const directory = await unpackOld(join(root.path, 'old'))
  const made = await unpackOld(join(root.path, 'made'))
  const seen: [number, number][] = []
  const tables = await migrate(
    join(made, 'store'),
    await openTables(join(made, 'store')),
    (done, total) => seen.push([done, total]),
  )
  await tables.close()
  expect(seen.at(-1)?.[0]).toBe(seen.at(-1)?.[1])
  expect(seen.at(-1)?.[0]).toBeGreaterThan(600_000)
  const state = async (name: string, moved: 'none' | 'journal' | 'both') => {
    const image = join(root.path, name)
    await cp(directory, image, { recursive: true })
    const store = join(image, 'store')
    const work = join(store, 'migration')
    await mkdir(work)
    const from = join(made, 'store')
    const journal = join(moved === 'none' ? work : store, 'journal')
    await cp(join(from, 'journal'), journal, { recursive: true })
    await cp(join(from, 'data.mdb'), join(moved === 'both' ? store : work, 'data.mdb'))
    await writeFile(join(work, 'lock.mdb'), Buffer.alloc(8_192))
    await isWholeOnce(image)
  }
  await state('before', 'none')
  await state('between', 'journal')
  await state('behind', 'both')
})

test.each([
  ['/dev/full', 'ENOSPC', 'no space left to bring the store in'],
  ['/dev/null', 'EIO', 'check the directory and the disk'],
])(
  'a migration whose tables become %s is %s, and the old store is as it was',
  async (target, code, message) => {
    await using root = await temporaryDirectory()
    const directory = await unpackOld(join(root.path, 'store'))
    const store = join(directory, 'store')
    const tables = join(store, 'migration', 'data.mdb')
    let isReplaced = false
    const onMigration = () => {
      if (isReplaced) return
      replaceDescriptors(tables, target, { flags: constants.O_WRONLY })
      isReplaced = true
    }
    const opened = openLocal(store, { environment: systemEnvironment, onMigration })
    await expect(opened).rejects.toMatchObject({ code, message: expect.stringContaining(message) })
    expect(isReplaced).toBe(true)
    await isWhole(directory)
  },
)

test('what a migration left that came to no end is not taken for a store', async () => {
  await using root = await temporaryDirectory()
  const directory = await unpackOld(join(root.path, 'store'))
  const store = join(directory, 'store')
  await mkdir(join(store, 'migration', 'journal'), { recursive: true })
  await writeFile(join(store, 'migration', 'data.mdb'), 'half')
  await writeFile(join(store, 'migration', 'journal', 'segment-000000000001'), 'half')
  await mkdir(join(store, 'journal'))
  await writeFile(join(store, 'journal', 'segment-000000000001'), 'half')
  await isWhole(directory)
})

test('on a full disk it is ENOSPC, the old store is as it was, and opens once there is space', async (context: TestContext) => {
  const { size } = await (async () => {
    await using root = await temporaryDirectory()
    return await stat(join(await unpackOld(join(root.path, 'store')), 'store', 'data.mdb'))
  })()
  await using disk = await smallDisk(6 * 1024 * 1024, context)
  const codes: string[] = []
  for (const free of [300, 700, 1_000, 1_500].map((kib) => kib * 1024)) {
    const directory = await unpackOld(join(disk.directory, `with-${free}`))
    const ballast = join(disk.directory, 'ballast')
    await writeFile(ballast, Buffer.alloc(6 * 1024 * 1024 - size - 64 * 1024 - free))
    const before = await rowsIn(join(directory, 'store'))
    const code = await codeOf(open({ directory }).then((store) => store[Symbol.asyncDispose]()))
    codes.push(code)
    if (code !== 'no error') {
      expect([free, code]).toEqual([free, 'ENOSPC'])
      expect(await rowsIn(join(directory, 'store'))).toBe(before)
      expect(await readdir(join(directory, 'store'))).not.toContain('migration')
    }
    await rm(ballast)
    await using store = await open({ directory })
    expect(await oldContentOf(store)).toEqual(oldContent)
    await store[Symbol.asyncDispose]()
    await rm(directory, { recursive: true })
  }
  expect(codes.filter((code) => code === 'ENOSPC').length).toBeGreaterThan(2)
})

/** The digest of all rows of a store of format 1. */
async function rowsIn(store: string): Promise<string> {
  const tables = await openTables(store)
  try {
    const sum = createHash('sha256')
    for (const name of ['meta', 'index', 'roots', 'namespaces', 'blobs']) {
      const table = tables.table(name)
      for (const key of [...table.keys({})].map((found) => Buffer.from(found))) {
        sum
          .update(name)
          .update(key)
          .update(table.get(key) ?? Buffer.of())
      }
    }
    return sum.digest('hex')
  } finally {
    await tables.close()
  }
}

test('a large store on a disk with too little space for it twice is ENOSPC', async (context) => {
  await using disk = await smallDisk(20 * 1024 * 1024, context)
  const store = join(disk.directory, 'store')
  const blobs = Array.from({ length: 70 }, (_, n) => blobOf(`${n} `.repeat(50_000)))
  await makeOld(store, blobs)
  // The journal is full first, with more space free afterwards than a probe for a full disk takes.
  await writeFile(join(disk.directory, 'ballast'), Buffer.alloc(8 * 1024 * 1024))
  const opening = openLocal(store, { environment: systemEnvironment })
  await expect(opening).rejects.toMatchObject({
    code: 'ENOSPC',
    message: expect.stringContaining('up to format 2'),
  })
  expect(await readdir(store)).not.toContain('migration')
  await rm(join(disk.directory, 'ballast'))
  await using engine = await openLocal(store, { environment: systemEnvironment })
  const loaded = await engine.load(blobs.map(({ ref }) => ref))
  expect(loaded.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(blobs.map(({ ref }) => ref))
  expect(engine.stored).toBe(blobs.reduce((sum, { bytes }) => sum + bytes.length, 0))
})

/** Makes a store of format 1 with these blobs, each in a record of its own. */
async function makeOld(store: string, blobs: readonly Blob[]): Promise<void> {
  await mkdir(store)
  const tables = await openTables(store)
  const records = tables.table('blobs')
  for (const [n, { ref, bytes }] of blobs.entries()) {
    const writes = new Writes()
    writes.put(records, Buffer.concat([uint64(n + 1), indexKey(ref)]), bytes)
    writes.put(tables.index, indexKey(ref), encodePlace({ segment: n + 1, offset: 0, length: 0 }))
    await tables.write(writes)
  }
  const meta = new Writes()
  meta.put(tables.meta, Buffer.from('format'), encode(1))
  meta.put(tables.meta, Buffer.from('storeId'), encode('old'))
  meta.put(tables.meta, Buffer.from('watermark'), encode(blobs.length))
  await tables.write(meta)
  await tables.close()
}

type OldRecord = { readonly key: Buffer; readonly value: Buffer }

/** The records of blobs of a store of format 1. */
async function recordsIn(store: string): Promise<OldRecord[]> {
  const tables = await openTables(store)
  const records = tables.table('blobs')
  const keys = [...records.keys({})].map((key) => Buffer.from(key))
  const all = keys.map((key) => ({ key, value: Buffer.from(records.get(key) ?? []) }))
  await tables.close()
  return all
}

/** Unpacks the store, and changes the bytes of its data file. Each call of `at` gives the offsets of
 *  some bytes. */
async function damaged(
  directory: string,
  change: (bytes: Buffer, at: (part: Buffer) => number[], records: readonly OldRecord[]) => void,
): Promise<void> {
  const store = join(await unpackOld(directory), 'store')
  const records = await recordsIn(store)
  const bytes = await readFile(join(store, 'data.mdb'))
  const at = (part: Buffer) => {
    const found: number[] = []
    for (let from = bytes.indexOf(part); from >= 0; from = bytes.indexOf(part, from + 1))
      found.push(from)
    return found
  }
  const before = Buffer.from(bytes)
  change(bytes, at, records)
  expect(bytes.equals(before)).toBe(false)
  await writeFile(join(store, 'data.mdb'), bytes)
}

const isPartOfLarge = ({ key, value }: OldRecord) =>
  key.length > 8 && value.includes('large value large value ')

test.each<readonly [string, string, Parameters<typeof damaged>[1]]>([
  [
    'other bits in it',
    'ECORRUPT',
    (bytes, at, records) => {
      const value = records.find(isPartOfLarge)?.value ?? Buffer.of()
      for (const from of at(value.subarray(0, 1_000))) bytes[from + 777] = 0
    },
  ],
  [
    'pages that are not there',
    'EDANGLING',
    (bytes, at, records) => {
      // The number of its first page follows the key of the record.
      for (const { key } of records.filter(isPartOfLarge)) {
        for (const from of at(key)) bytes.writeBigUInt64LE(0xff_ffffn, from + key.length)
      }
    },
  ],
])('a damaged blob with %s is named where it is read: %s', async (_, code, damage) => {
  await using root = await temporaryDirectory()
  const directory = join(root.path, 'store')
  await damaged(directory, damage)
  {
    await using store = await open({ directory })
    await expect(store.get('large')).rejects.toMatchObject({ code })
    expect(text(await store.get('config/mode'))).toBe('off')
    expect(text(await store.get('log'))).toBe(log)
  }
  const report = await checkStore({ directory })
  expect(report.clean).toBe(false)
  for (const finding of report.findings)
    expect(finding).toMatchObject({ where: 'data', key: 'large' })
})

test.each<readonly [string, (bytes: Buffer, at: number) => void]>([
  ['that says another version', (bytes, at) => bytes.writeUInt8(99, at)],
  ['with another length', (bytes, at) => bytes.writeUInt32BE(1, at + 5 + 32)],
  ['with another ref', (bytes, at) => bytes.writeUInt32BE(1, at + 5)],
  ['with fewer blobs', (bytes, at) => bytes.writeUInt32BE(0, at + 1)],
])(
  'the head of a pack %s costs none of its blobs, since the index finds them',
  async (_, change) => {
    await using root = await temporaryDirectory()
    const directory = join(root.path, 'store')
    await damaged(directory, (bytes, at, records) => {
      const packs = records.filter(({ key }) => key.length === 8)
      const pack = packs.at(-20)?.value ?? Buffer.of()
      for (const from of at(pack.subarray(0, 41))) change(bytes, from)
    })
    await isWholeOnce(directory)
    expect((await checkStore({ directory })).findings).toEqual([])
  },
)
