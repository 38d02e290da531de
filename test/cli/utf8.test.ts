/** Arguments, variables and paths that are not UTF-8. See rfc/13, rule 17. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
  await sandbox.ok(['put', 'k', 'before'])
})
afterAll(() => sandbox.remove())

describe('bytes that are not UTF-8', () => {
  it.each([
    ['a key', "put $'caf\\xe9' 1", 2],
    ['a value', "put k $'\\xff'", 2],
    ['a surrogate', "put k $'\\xed\\xa0\\x80'", 2],
    ['a word of a job', "run -- printf %s $'x\\xff'", 2],
    ['an option', "submit --env X=$'\\xff' -- true", 2],
    ['an inherited variable', "put k v; export X=$'\\xff'; t run -- true", 1],
    ['the name of a variable', 'root; env $\'\\xff=1\' "$node" "$main" submit -- true', 1],
    ['the data directory', "root; export TAILRACE_DATA=$'/tmp/\\xff'; t put k v", 1],
    ['the working directory', "root; mkdir -p $'\\xff'; cd $'\\xff'; t submit -- true", 1],
  ])('in %s are EINVAL', async (_, command, code) => {
    const ended = await sandbox.shell(`t ${command}`)
    expect(ended.stderr).toMatch(/^tailrace: EINVAL: .*UTF-8.*\n$/)
    expect(ended.code).toBe(code)
  })

  it('are told from a U+FFFD that was typed', async () => {
    const script = `X=\ufffd t put \ufffd x\ufffd && t get \ufffd && X=\ufffd t run -- sh -c 'printf "$X$0"' \ufffd`
    expect((await sandbox.shell(script)).stdout).toBe('x\ufffd\ufffd\ufffd')
  })
})
