/** Host, Origin, token, addresses: the rules alone. */

import { describe, expect, it } from 'vitest'
import {
  accessOf,
  bearerOf,
  checkHost,
  checkOrigin,
  formatAddress,
  isLoopback,
  isToken,
  parseAddress,
} from '../../src/server/access.js'

const access = accessOf({
  addresses: [
    { host: '127.0.0.1', port: 7000 },
    { host: '::1', port: 7001 },
    { host: '192.0.2.1', port: 7002 },
  ],
  scheme: 'http',
  allowHosts: ['Proxy.example'],
  allowOrigins: ['https://page.example'],
})

describe('parseAddress()', () => {
  it.each(['127.0.0.1:80', 'localhost:0', '[::1]:65535', 'a.example:1'])('takes %s', (text) => {
    expect(formatAddress(parseAddress(text))).toBe(text)
  })
  it.each([
    '',
    '80',
    ':80',
    'host:',
    'host:65536',
    '::1:80',
    'a b:1',
    'http://x:1',
    '[x]:1',
    'h:-1',
  ])('refuses %j', (text) => {
    expect(() => parseAddress(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})

it('isLoopback() knows what stays on this machine', () => {
  expect(['localhost', '::1', '127.0.0.1', '127.9.9.9'].every(isLoopback)).toBe(true)
  expect(['0.0.0.0', '::', '10.0.0.1', '127.evil.example', 'host'].some(isLoopback)).toBe(false)
})

describe('checkHost()', () => {
  it.each([
    'localhost',
    'LOCALHOST:1',
    '127.0.0.1:7000',
    '[::1]:9',
    '192.0.2.1',
    'proxy.example:443',
  ])('takes %s', (host) => {
    expect(() => checkHost(access, host)).not.toThrow()
  })
  it.each([
    undefined,
    '',
    'evil.example',
    'evil.example:7000',
    'localhost.evil.example',
    '127.0.0.1.evil',
    ':7000',
    '[::2]',
    'localhost:7000:1',
    'user@localhost',
  ])('refuses %j', (host) => {
    expect(() => checkHost(access, host)).toThrow(expect.objectContaining({ code: 'EPERM' }))
  })
})

describe('checkOrigin()', () => {
  it.each([
    undefined,
    'http://127.0.0.1:7000',
    'http://localhost:7000',
    'http://[::1]:7001',
    'https://page.example',
  ])('takes %s', (origin) => {
    expect(() => checkOrigin(access, origin)).not.toThrow()
  })
  it.each([
    'null',
    '',
    'http://localhost',
    'http://localhost:7002',
    'https://localhost:7000',
    'http://page.example',
    'https://page.example.evil',
  ])('refuses %j', (origin) => {
    expect(() => checkOrigin(access, origin)).toThrow(expect.objectContaining({ code: 'EPERM' }))
  })
})

describe('the token', () => {
  it('is taken from a bearer header only', () => {
    expect(bearerOf('Bearer abc')).toBe('abc')
    expect(bearerOf('bearer  abc ')).toBe('abc')
    expect(bearerOf('Basic abc')).toBeUndefined()
    expect(bearerOf('Bearer')).toBeUndefined()
    expect(bearerOf('Bearer a b')).toBeUndefined()
    expect(bearerOf(undefined)).toBeUndefined()
  })
  it.each(['', 'secre', 'secret2', 'SECRET'])('is not %j', (given) => {
    expect(isToken('secret', given)).toBe(false)
  })
  it('is itself', () => {
    expect(isToken('secret', 'secret')).toBe(true)
  })
})
