/** Options that several commands share: writes that land once, keys that expire, logs that are capped. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { CuttingProxy } from '../client/cutting-proxy.js'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

describe('--producer, --epoch, --seq', () => {
  it('append once, and say what comes next', async () => {
    const append = (epoch: number, seq: number, ...more: string[]) =>
      sandbox.call([
        ...['append', 'produced', `${epoch}.${seq};`, '--producer', 'ci', '--epoch', `${epoch}`],
        ...['--seq', `${seq}`, ...more],
      ])
    expect((await append(0, 0)).code).toBe(0)
    const again = await append(0, 0, '--json')
    expect(JSON.parse(again.stdout).result).toEqual({ index: 0, count: 1, repeated: true })
    expect(await append(0, 2)).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/^tailrace: ECONFLICT: append 1 comes next of producer ci/),
    })
    expect((await append(1, 0)).code).toBe(0)
    expect((await append(0, 1)).stderr).toMatch(/^tailrace: EFENCED: .*epoch 1/)
    expect(await sandbox.ok(['get', 'produced'])).toBe('0.0;1.0;')
  })

  it('go together, and with one value', async () => {
    const numbered = ['--producer', 'p', '--epoch', '0', '--seq', '0']
    for (const args of [
      ['k', 'v', '--producer', 'p'],
      ['k', 'v', '--epoch', '0', '--seq', '0'],
      ['k', 'v', '--producer', 'p', '--epoch', '-1', '--seq', '0'],
      ['k', '-', '--lines', ...numbered],
      ['k', '-', '--stream', '--idempotency-key', 'x'],
      ['k', '--seal', ...numbered],
    ]) {
      expect((await sandbox.call(['append', ...args])).code, args.join(' ')).toBe(2)
    }
  })
})

describe('--idempotency-key', () => {
  it('of put, append, rm and txn: the second is answered as the first', async () => {
    const file = join(sandbox.directory, 'change.json')
    await writeFile(file, JSON.stringify({ ops: [{ op: 'append', key: 'i/log', value: 'x' }] }))
    const commands = [
      ['put', 'i/key', 'value', '--if-absent'],
      ['append', 'i/log', 'x'],
      ['append', 'i/log', '--seal'],
      ['rm', 'i/key', 'i/log'],
    ]
    for (const [at, command] of commands.entries()) {
      const args = [...command, '--idempotency-key', `cli ${at}`, '--json']
      const first = JSON.parse(await sandbox.ok(args))
      expect(first.repeated).toBeUndefined()
      expect(JSON.parse(await sandbox.ok(args))).toEqual({ ...first, repeated: true })
    }
    const txn = ['txn', file, '--idempotency-key', 'cli txn', '--exactly-once']
    const first = JSON.parse(await sandbox.ok(txn))
    expect(JSON.parse(await sandbox.ok(txn))).toEqual({ ...first, repeated: true })
    const other = await sandbox.call(['put', 'i/key', 'other', '--idempotency-key', 'cli txn'])
    expect(other.stderr).toMatch(/^tailrace: EINVAL: another transaction/)
  })

  it('with --idempotency-since: EUNKNOWN if it cannot be told', async () => {
    const since = (seq: string) => ['--idempotency-key', 'cli since', '--idempotency-since', seq]
    const late = await sandbox.call(['append', 'i/since', 'x', ...since('1000000')])
    expect(late.stderr).toMatch(/^tailrace: EUNKNOWN: it is not known/)
    const first = JSON.parse(await sandbox.ok(['append', 'i/since', 'x', '--json', ...since('1')]))
    expect(first.result).toEqual({ index: 0, count: 1 })
    expect((await sandbox.call(['put', 'k', 'v', '--idempotency-since', '1'])).code).toBe(2)
  })
})

describe('--exactly-once', () => {
  it('sends again what was lost, a line at a time too', async () => {
    await sandbox.ok(['put', 'there', 'x'])
    const record = await sandbox.record()
    await using proxy = await CuttingProxy.start(sandbox.directory, record.socket)
    const url = ['--url', proxy.target]
    proxy.loseAnswers(2)
    await sandbox.ok(['append', 'surely', 'a\n', '--exactly-once', ...url])
    proxy.loseAnswers(2)
    const input = 'b\nc\n'
    await sandbox.ok(['append', 'surely', '-', '--lines', '--exactly-once', ...url], { input })
    proxy.loseAnswers(1)
    await sandbox.ok(['put', 'put', '-', '--exactly-once', ...url], { input })
    proxy.loseAnswers(1)
    await sandbox.ok(['rm', 'there', '--exactly-once', ...url])
    expect(proxy.losing).toBe(0)
    expect(await sandbox.ok(['get', 'surely'])).toBe('a\nb\nc\n')
    expect(await sandbox.ok(['get', 'put'])).toBe(input)
    expect((await sandbox.call(['get', 'there'])).code).toBe(3)
    proxy.loseAnswers(1)
    const plain = await sandbox.call(['append', 'surely', 'd\n', ...url])
    expect(plain.stderr).toMatch(/^tailrace: EUNKNOWN/)
  })
})

describe('--keep', () => {
  it('caps a log as it is written, by whoever writes it', async () => {
    const stat = async () => {
      const { count, base, cap } = JSON.parse(await sandbox.ok(['stat', 'capped', '--json']))
      return [count, base?.count, cap]
    }
    const input = Array.from({ length: 9_000 }, (_, at) => `${at}\n`).join('')
    await sandbox.ok(['append', 'capped', '-', '--lines', '--keep', '1000'], { input })
    expect(await stat()).toEqual([9_000, 8_000, { keep: 1_000 }])
    await sandbox.ok(['append', 'capped', 'more\n'])
    expect(await sandbox.ok(['tail', 'capped', '-n', '2'])).toBe('8999\nmore\n')
    const bounds = ['--keep-bytes', '1K', '--keep-age', '7d']
    await sandbox.ok(['append', 'capped', '-', '--stream', ...bounds], { input: 'x'.repeat(2_000) })
    expect(await stat()).toEqual([9_002, 9_001, { keepBytes: 1_024, keepAge: 604_800_000 }])
    await sandbox.ok(['append', 'capped', 'x', '--uncap'])
    expect(await stat()).toEqual([9_003, 9_001, undefined])
    const both = await sandbox.call(['append', 'capped', 'x', '--keep', '1', '--uncap'])
    expect(both.code).toBe(2)
    const seal = await sandbox.call(['append', 'capped', '--seal', '--keep', '1'])
    expect(seal.code).toBe(2)
  })
})

describe('--ttl', () => {
  let sandbox: Sandbox
  beforeEach(async () => {
    sandbox = await Sandbox.makeServed()
  })
  afterEach(() => sandbox.remove())

  it('makes keys that go by themselves, and who watches hears it', async () => {
    for (const args of [
      ['put', 'a', 'v', '--ttl', '300ms'],
      ['append', 'b', 'v', '--ttl', '0.3s', '--sliding'],
      ['append', 'c', '-', '--lines', '--ttl', '300ms'],
      ['append', 'd', '-', '--stream', '--ttl', '300ms'],
    ]) {
      expect(await sandbox.call(args, { input: 'x\ny\n' })).toMatchObject({ code: 0, stderr: '' })
    }
    for (const key of ['a', 'b', 'c', 'd']) {
      const watched = await sandbox.call(['watch', key])
      expect(watched).toMatchObject({ code: 3, stderr: expect.stringMatching(/ ENOENT: /) })
    }
    expect((await sandbox.call(['ls'])).stdout).toBe('')
  })

  it('and --sliding that mean nothing are refused', async () => {
    expect((await sandbox.call(['put', 'a', 'v', '--sliding'])).code).toBe(2)
    expect((await sandbox.call(['put', 'a', 'v', '--ttl', '7 days'])).code).toBe(2)
    const zero = await sandbox.call(['put', 'a', 'v', '--ttl', '0'])
    expect(zero).toMatchObject({ code: 1, stderr: expect.stringMatching(/ EINVAL: /) })
  })
})
