/** `lease take`, `renew`, `release` and `show`, as a person or a script meets them. See rfc/9. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.makeServed()
})
afterEach(() => sandbox.remove())

const held = async (key: string) => (await sandbox.call(['lease', 'show', key])).stdout.trim()

describe('lease', () => {
  it('take, show, renew, release; who comes late is ECONFLICT or EFENCED', async () => {
    const taken = await sandbox.call(['lease', 'take', 'k', '--ttl', '1m', '--owner', 'me'])
    expect(taken).toMatchObject({ code: 0, stderr: '' })
    const token = taken.stdout.trim()
    expect(token).toMatch(/^[0-9a-f]{32}:1$/)
    const [incarnation, seq] = [token.slice(0, 32), 1]
    const shown = await sandbox.call(['lease', 'show', 'k', '--json'])
    expect(JSON.parse(shown.stdout)).toEqual({
      held: true,
      token: { incarnation, seq },
      owner: 'me',
    })
    const refused = await sandbox.call(['lease', 'take', 'k'])
    expect(refused).toMatchObject({ code: 4, stderr: expect.stringMatching(/ ECONFLICT: /) })
    const renewed = await sandbox.call(['lease', 'renew', 'k', token, '--ttl', '2m', '--json'])
    expect(JSON.parse(renewed.stdout)).toMatchObject({
      results: [{ token: { incarnation, seq } }],
    })
    expect(await held('k')).toBe(`held ${token} me`)
    expect(await sandbox.call(['lease', 'release', 'k', token])).toMatchObject({
      code: 0,
      stdout: '',
    })
    expect(await sandbox.call(['lease', 'show', 'k'])).toMatchObject({ code: 1, stdout: 'free\n' })
    const late = await sandbox.call(['lease', 'release', 'k', token])
    expect(late).toMatchObject({ code: 4, stderr: expect.stringMatching(/ EFENCED: /) })
    for (const wrong of ['x', `${incarnation}`, `${token}x`]) {
      expect((await sandbox.call(['lease', 'renew', 'k', wrong])).code).toBe(2)
    }
    expect((await sandbox.call(['lease', 'take', 'k', '--ttl', '30'])).code).toBe(2)
  })

  it('take --wait is woken by the release; a token guards a txn', async () => {
    const first = (await sandbox.call(['lease', 'take', 'k'])).stdout.trim()
    const waiting = sandbox.start(['lease', 'take', 'k', '--wait', '--json'])
    const ended = waiting.ended()
    await expect
      .poll(async () => JSON.parse((await sandbox.call(['status', '--json'])).stdout).watchers)
      .toBe(1)
    await sandbox.call(['lease', 'release', 'k', first])
    const { code, stdout } = await ended
    expect(code).toBe(0)
    const { token } = JSON.parse(stdout).results[0]
    const put = (seq: number) =>
      sandbox.call(['txn', '-'], {
        input: JSON.stringify({
          guards: [{ lease: 'k', token: { ...token, seq } }],
          ops: [{ op: 'put', key: 'v', value: `${seq}` }],
        }),
      })
    expect((await put(token.seq)).code).toBe(0)
    expect(await put(1)).toMatchObject({ code: 4, stderr: expect.stringMatching(/ECONFLICT/) })
    expect((await sandbox.call(['get', 'v'])).stdout).toBe(`${token.seq}`)
  })

  it('watch --lease tells of it, beside the values', async () => {
    await sandbox.call(['put', 'k', 'v'])
    const args = ['watch', 'k', '--mode', 'value', '--lease', '--no-follow']
    expect((await sandbox.call(args)).stdout).toBe('lease: free\nv\n')
    const token = (await sandbox.call(['lease', 'take', 'k', '--owner', 'me'])).stdout.trim()
    expect((await sandbox.call(args)).stdout).toBe(`lease: held ${token} me\nv\n`)
    const [line = ''] = (await sandbox.call([...args, '--json'])).stdout.split('\n')
    expect(JSON.parse(line)).toMatchObject({ type: 'lease', held: true, owner: 'me' })
    expect((await sandbox.call(['watch', 'k', '--lease'])).code).toBe(2)
  })
})
