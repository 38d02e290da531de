/** Directories that are made where they are missing. That they are synced is seen by
 *  test/proof/write-order.test.ts. */

import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { makeDirectory } from '../../src/base/make-directory.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-base-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

it('makes what is missing, for the owner alone, and leaves what is there', async () => {
  const path = join(directory, 'a/b/c')
  await makeDirectory(path)
  for (const each of [path, join(path, '..'), join(path, '../..')]) {
    expect((await stat(each)).mode & 0o777).toBe(0o700)
  }
  await writeFile(join(path, 'file'), 'x')
  await makeDirectory(path)
  await makeDirectory(`${path}/../c/d/`)
  expect((await stat(join(path, 'd'))).isDirectory()).toBe(true)
  expect((await stat(join(path, 'file'))).size).toBe(1)
})

it('of a file, or below one, throws', async () => {
  await writeFile(join(directory, 'file'), 'x')
  await expect(makeDirectory(join(directory, 'file'))).rejects.toThrow('EEXIST')
  await expect(makeDirectory(join(directory, 'file/below'))).rejects.toThrow('ENOTDIR')
})

// Other systems have no /proc, in which nothing can be made.
it.runIf(process.platform === 'linux')('where nothing can be made throws', async () => {
  await expect(makeDirectory('/proc/none/below')).rejects.toThrow('ENOENT')
})
