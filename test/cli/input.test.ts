/** What comes in from outside and is not what it should be: refused, and nothing is changed. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
  await sandbox.ok(['put', 'k', 'before'])
})
afterAll(() => sandbox.remove())

describe('stdin', () => {
  it.each([
    ['put k -', '<&-', 'EIO'],
    ['put k -', '< /tmp', 'EISDIR'],
    ['put k - --idempotency-key once', '<&-', 'EIO'],
    ['append k -', '< /tmp', 'EISDIR'],
    ['append k - --lines', '<&-', 'EIO'],
    ['append k - --stream', '<&-', 'EIO'],
    ['append k - --lines', '0> written', 'EIO'],
    ['import - --replace', '< /tmp', 'EISDIR'],
    ['txn -', '<&-', 'EIO'],
    ['treeobj put k -', '<&-', 'EIO'],
    ['blob put -', '< /tmp', 'EISDIR'],
    ['verify -', '<&-', 'EIO'],
    ['run -i -- touch ran', '<&-', 'EIO'],
  ])('of %s %s is %s', async (command, redirection, code) => {
    const ended = await sandbox.shell(`t ${command} ${redirection}; echo $?`)
    expect(ended.stderr).toMatch(new RegExp(`^tailrace: ${code}: .*stdin.*\\n$`))
    expect(ended.stdout).toMatch(/^[1-9]\n$/)
  })

  it('that was refused has changed nothing', async () => {
    expect(await sandbox.ok(['root'])).toMatch(/^1 /)
  })

  it('that is /dev/null, or an empty file, is an empty value', async () => {
    const script =
      't put empty - < /dev/null && t stat empty; : > none; t put none - < none && t get none'
    expect((await sandbox.shell(script)).stdout).toMatch(/size +0\n/)
  })
})
