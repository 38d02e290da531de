/** Access tokens on the command line: `token create`, `ls`, `renew`, `revoke`, and commands that have
 *  one. See rfc/28. */

import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
  await sandbox.ok(['put', 'logs/a', 'open'])
  await sandbox.ok(['put', 'secret', 'closed'])
})
afterAll(() => sandbox.remove())

it('a token is made, listed, renewed and revoked', async () => {
  const text = (
    await sandbox.ok(['token', 'create', 'a reader', 'read@primary/logs', 'jobs'])
  ).trim()
  const id = /^tailrace_([0-9a-f]{12})_[\w-]{43}$/.exec(text)?.[1] ?? ''
  const listed = await sandbox.ok(['token', 'ls', '--utc'])
  expect(listed).toMatch(
    new RegExp(`^${id} "a reader" until \\d{4}-\\d\\d-\\d\\d.* read@primary/logs jobs\\n$`),
  )
  expect(listed).not.toContain(text)
  const before = Date.now()
  const renewed = JSON.parse(await sandbox.ok(['token', 'renew', id, '--ttl', '1h', '--json']))
  expect(renewed.expires - before).toBeGreaterThanOrEqual(3_600_000)
  expect(await sandbox.ok(['token', 'revoke', id])).toBe(`${id} revoked\n`)
  expect(JSON.parse(await sandbox.ok(['token', 'ls', '--json']))).toEqual({ tokens: [] })
  failed(await sandbox.call(['token', 'renew', id]), 'ENOENT')
})

it('what is wrong is said, and nothing is made', async () => {
  failed(await sandbox.call(['token', 'create', 'x', 'reads']), 'EINVAL')
  failed(await sandbox.call(['token', 'create', 'x', 'read@system']), 'EINVAL')
  for (const wrong of [['x'], [], ['x', 'read', '--ttl', 'soon']]) {
    expect((await sandbox.call(['token', 'create', ...wrong])).code).toBe(2)
  }
  expect(JSON.parse(await sandbox.ok(['token', 'ls', '--json']))).toEqual({ tokens: [] })
})

it('a command with a token does what that may do', async () => {
  const create = ['token', 'create', 'reader', 'read@primary/logs']
  const TAILRACE_TOKEN = (await sandbox.ok(create)).trim()
  const url = `unix:${join(sandbox.data, 'tailrace.sock')}`
  const asked = { env: { TAILRACE_TOKEN, TAILRACE_URL: url } }
  expect(await sandbox.ok(['get', 'logs/a'], asked)).toBe('open')
  failed(await sandbox.call(['get', 'secret'], asked), 'EPERM')
  failed(await sandbox.call(['status'], asked), 'EPERM')
  expect(await sandbox.ok(['ns', 'list'], asked)).toBe('')
  const wrong = { env: { TAILRACE_TOKEN: `${TAILRACE_TOKEN}x`, TAILRACE_URL: url } }
  failed(await sandbox.call(['get', 'logs/a'], wrong), 'EUNAUTH')
})

it('a link is printed for a key or for a job', async () => {
  const link = (await sandbox.ok(['token', 'link', 'logs/a', '--follow', '--ttl', '10m'])).trim()
  expect(link).toMatch(/^\/v1\/kv\/logs\/a\?follow=true&link=f\.\d+\.owner\.[\w-]{43}$/)
  const job = JSON.parse(await sandbox.ok(['token', 'link', '--job', 'f1', '--json']))
  expect(job.path).toMatch(/^\/v1\/jobs\/f1\/output\?link=r\./)
  expect(job.expires).toBeGreaterThan(Date.now())
  for (const wrong of [[], ['logs/a', '--job', 'f1']]) {
    expect((await sandbox.call(['token', 'link', ...wrong])).code).toBe(2)
  }
  failed(await sandbox.call(['token', 'link', 'logs/a', '--ttl', '30d']), 'EINVAL')
})
