/** What is the user's own: by owner and mode, in a directory that is closed or not. */

import { chmod, chown, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  assertOwnDirectory,
  assertOwnFile,
  assertOwnSecret,
  closeOwnDirectory,
} from '../../src/base/own.js'

let directory = ''
let secret = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-own-'))
  secret = join(directory, 'secret')
  await writeFile(secret, 'x', { mode: 0o600 })
})
afterEach(() => rm(directory, { recursive: true }))

const refused = (how: RegExp) =>
  expect.objectContaining({ code: 'EPERM', message: expect.stringMatching(how) })

test.each([0o700, 0o750, 0o755])('a directory of mode %o may be used', async (mode) => {
  await chmod(directory, mode)
  await assertOwnDirectory(directory)
})

test.each([0o777, 0o707, 0o1777])(
  'a directory of mode %o, in which others write, may not',
  async (mode) => {
    await chmod(directory, mode)
    await expect(assertOwnDirectory(directory)).rejects.toThrow(refused(/chmod go-w/))
  },
)

test('a directory of which others need nothing is closed to them, unless they could write in it', async () => {
  await chmod(directory, 0o755)
  await closeOwnDirectory(directory)
  expect((await stat(directory)).mode & 0o777).toBe(0o700)
  await chmod(directory, 0o777)
  await expect(closeOwnDirectory(directory)).rejects.toThrow(refused(/chmod go-w/))
})

test('a secret that others can open is refused where they can reach it, else closed', async () => {
  await chmod(secret, 0o644)
  await chmod(directory, 0o755)
  await expect(assertOwnSecret(secret, directory)).rejects.toThrow(refused(/0644.*chmod go=/))
  expect((await stat(secret)).mode & 0o777).toBe(0o644)
  await chmod(directory, 0o700)
  await assertOwnSecret(secret, directory)
  expect((await stat(secret)).mode & 0o777).toBe(0o600)
})

test('what is missing is nobody else’s', async () => {
  await assertOwnDirectory(join(directory, 'none'))
  await assertOwnSecret(join(directory, 'none'), directory)
  await assertOwnFile(join(secret, 'none'))
})

test('what belongs to somebody else is refused, with both users', async (context) => {
  if (process.geteuid?.() !== 0) context.skip('only root gives files away')
  await chown(secret, 12_345, 12_345)
  const told = refused(/belongs to user 12345, and this is user 0: .*chown/)
  await expect(assertOwnSecret(secret, directory)).rejects.toThrow(told)
  await expect(assertOwnFile(secret)).rejects.toThrow(told)
  await chown(directory, 12_345, 12_345)
  await expect(assertOwnDirectory(directory)).rejects.toThrow(told)
})
