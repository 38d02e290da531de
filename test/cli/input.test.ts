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

it.each([
  ['a context', `eventlog append e x '{"id":12345678901234567}'`, /12345678901234567/],
  ['a name twice', `eventlog append e x '{"a":1,"a":2}'`, /"a" twice/],
  ['a timestamp', 'eventlog append e x --timestamp 1700000000.123456789', /1700000000.123456789/],
  ['a transaction', `txn - <<< '{"ops":[{"op":"trim","key":"k","keep":1e400}]}'`, /1e400/],
  ['bytes in a transaction', `txn - <<< $'{"ops":[{"op":"mkdir","key":"\\xe9"}]}'`, /UTF-8/],
  ['a treeobj', `treeobj put t - <<< '{"ver":1,"ver":1}'`, /"ver" twice/],
])('JSON that would be changed without a word is EINVAL: %s', async (_, command, message) => {
  const ended = await sandbox.shell(`t ${command}; echo $?; t eventlog get e`)
  expect(ended.stderr).toMatch(/^tailrace: EINVAL: /)
  expect(ended.stderr).toMatch(message)
  expect(ended.stdout).toMatch(/^[12]\n$/)
})

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
