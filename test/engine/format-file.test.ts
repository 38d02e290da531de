/** `format.json` beside a store, and what its absence or presence means. */

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { openDirectory } from '../../src/engine/directory.js'
import { checkFormat, readFormat, settleFormat } from '../../src/engine/format-file.js'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-format-'))
})
afterEach(() => rm(directory, { recursive: true }))

const store = (storeId: string, formerId?: string) => ({ storeId, formerId })

it('is written once, with the store id, for its owner only', async () => {
  expect(await readFormat(directory)).toBeUndefined()
  await settleFormat(directory, store('abc'))
  await settleFormat(directory, store('abc'))
  const path = join(directory, 'format.json')
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ format: 2, storeId: 'abc' })
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await readdir(directory)).toEqual(['format.json'])
})

it('of the store that this one is a copy of becomes its own', async () => {
  await settleFormat(directory, store('abc'))
  await settleFormat(directory, store('copy', 'abc'))
  expect(await readFormat(directory)).toEqual({ format: 2, storeId: 'copy' })
  await expect(settleFormat(directory, store('abc'))).rejects.toMatchObject({
    code: 'EMISCONFIGURED',
  })
})

it('of an older format is read, and becomes one of this format', async () => {
  await writeFile(join(directory, 'format.json'), '{"format":1,"storeId":"abc"}')
  await checkFormat(directory, 'abc')
  await settleFormat(directory, store('abc'))
  expect(await readFormat(directory)).toEqual({ format: 2, storeId: 'abc' })
})

it.each([
  ['of another store', '{"format":1,"storeId":"other"}'],
  ['of a newer format', '{"format":3,"storeId":"abc"}'],
  ['of no format', '{"format":0,"storeId":"abc"}'],
  ['that is not JSON', '{'],
  ['that is no object', '5'],
])('%s is EMISCONFIGURED', async (_, text) => {
  await writeFile(join(directory, 'format.json'), text)
  // Each is begun when it is awaited: a rejection that nobody awaits yet would fail the run.
  for (const check of [
    () => checkFormat(directory, 'abc'),
    () => settleFormat(directory, store('abc', 'before')),
  ]) {
    await expect(check()).rejects.toMatchObject({ code: 'EMISCONFIGURED' })
  }
})

it('that cannot be written is an error of the open, which says what to do', async () => {
  await mkdir(join(directory, `format.json.${process.pid}.new`))
  await expect(openDirectory(directory, { environment: systemEnvironment })).rejects.toMatchObject({
    code: 'EIO',
    message: expect.stringMatching(
      /^cannot open the store in .*: check the directory and the disk$/,
    ),
  })
})
