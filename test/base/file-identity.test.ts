/** Which file is meant: over renames, copies, and inodes that are used again. */

import { copyFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type FileIdentity, fileIdentity, isSameFile } from '../../src/base/file-identity.js'

test('a file keeps its identity over a rename and a change, a copy has another', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-identity-'))
  const [a, b, c] = ['a', 'b', 'c'].map((name) => join(directory, name)) as [string, string, string]
  await writeFile(a, 'x')
  const before = await fileIdentity(a)
  await writeFile(a, 'longer')
  await rename(a, b)
  expect(isSameFile(before, await fileIdentity(b))).toBe(true)
  await copyFile(b, c)
  expect(isSameFile(before, await fileIdentity(c))).toBe(false)
  await rm(directory, { recursive: true })
})

const plain: FileIdentity = { device: '1', inode: '2' }
const born: FileIdentity = { ...plain, birth: '3' }
const drawn: FileIdentity = { ...plain, generation: '4' }

test.each<[boolean, FileIdentity, FileIdentity]>([
  [true, plain, { ...plain }],
  [false, plain, { ...plain, inode: '3' }],
  [false, plain, { ...plain, device: '2' }],
  // The number of a device may change with a start of the machine.
  [true, born, { ...born, device: '2' }],
  [true, drawn, { ...drawn, device: '2' }],
  // An inode that was used again.
  [false, born, { ...born, birth: '4' }],
  [false, drawn, { ...drawn, generation: '5' }],
  [false, { ...born, generation: '4' }, { ...born, generation: '5' }],
  // Only what both know is compared.
  [true, plain, { ...born }],
  [false, drawn, { ...born, device: '2' }],
])('same: %s, of %j and %j', (same, a, b) => {
  expect(isSameFile(a, b)).toBe(same)
  expect(isSameFile(b, a)).toBe(same)
})
