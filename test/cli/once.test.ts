/** `--producer`, `--idempotency-key`, `--exactly-once`: commands that are run twice, and land once. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readServerRecord } from '../../src/local/directory.js'
import { CuttingProxy } from '../client/cutting-proxy.js'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
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
})

describe('--exactly-once', () => {
  it('sends again what was lost, a line at a time too', async () => {
    await sandbox.ok(['put', 'there', 'x'])
    const record = await readServerRecord(sandbox.data)
    if (!record) throw new Error('no server runs')
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
