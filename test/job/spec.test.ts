/** Submissions: parsed once, and never stored with the caller's environment. */

import { expect, test } from 'vitest'
import { argSizeMax, argsSizeMax, type Submission } from '../../src/api/job.js'
import {
  decodeSpec,
  encodeSpec,
  environmentOf,
  parseSubmission,
  specOf,
} from '../../src/job/spec.js'

const good: Submission = {
  command: ['ls', '-l'],
  cwd: '/tmp',
  env: { PATH: '/bin', KEY: 'secret' },
}

test('a spec has the names of the environment, never its values, and the values of set', () => {
  const parsed = parseSubmission({ ...good, set: { MODE: 'fast' } })
  const stored = encodeSpec(specOf(parsed))
  expect(stored).toBe(
    '{"version":1,"command":["ls","-l"],"cwd":"/tmp","envNames":["KEY","PATH"],"set":{"MODE":"fast"},"stdin":false}',
  )
  expect(decodeSpec(Buffer.from(stored))).toEqual(specOf(parsed))
  expect(environmentOf(parsed)).toEqual({ PATH: '/bin', KEY: 'secret', MODE: 'fast' })
})

test('set wins over env, and odd names are names', () => {
  const env = JSON.parse('{"__proto__":"a","A":"1"}') as Record<string, string>
  const parsed = parseSubmission({ ...good, env, set: { A: '2' } })
  expect(Object.entries(environmentOf(parsed))).toEqual([
    ['__proto__', 'a'],
    ['A', '2'],
  ])
})

test('a variable of env without a value is left out', () => {
  const parsed = parseSubmission({ ...good, env: { PATH: '/bin', GONE: undefined } })
  expect(environmentOf(parsed)).toEqual({ PATH: '/bin' })
  expect(specOf(parsed).envNames).toEqual(['PATH'])
})

test.each([
  ['no object', []],
  ['no command', { ...good, command: undefined }],
  ['an empty command', { ...good, command: [] }],
  ['an empty program', { ...good, command: [''] }],
  ['NUL in an argument', { ...good, command: ['ls', 'a\0b'] }],
  ['a number as argument', { ...good, command: ['ls', 1] }],
  ['a relative cwd', { ...good, cwd: 'tmp' }],
  ['no env', { ...good, env: undefined }],
  ['= in a name', { ...good, env: { 'A=B': 'c' } }],
  ['an empty name', { ...good, env: { '': 'c' } }],
  ['NUL in a value', { ...good, set: { A: '\0' } }],
  ['a lone surrogate', { ...good, set: { A: '\ud800' } }],
  ['a list as env', { ...good, set: [] }],
  ['keepChildren as text', { ...good, keepChildren: 'yes' }],
  ['stdin as text', { ...good, stdin: 'yes' }],
  ['an unknown field', { ...good, comand: [] }],
])('parseSubmission() of %s is EINVAL', (_, input) => {
  expect(() => parseSubmission(input)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
})

test('an argument or variable has argSizeMax bytes, all have argsSizeMax, a spec has specSizeMax; one more is E2BIG', () => {
  const tooBig = expect.objectContaining({ code: 'E2BIG' })
  const ofCommand = (...args: readonly string[]) => ({
    command: ['ls', ...args],
    cwd: '/',
    env: {},
  })
  const long = 'x'.repeat(argSizeMax)
  expect(parseSubmission(ofCommand(long)).command[1]).toBe(long)
  expect(() => parseSubmission(ofCommand(`${long}x`))).toThrow(tooBig)
  const env = { A: 'x'.repeat(argSizeMax - 2) }
  expect(parseSubmission({ ...good, env }).env).toEqual(env)
  expect(() => parseSubmission({ ...good, env: { A: `${env.A}x` } })).toThrow(tooBig)
  const many = Array.from({ length: argsSizeMax / (argSizeMax + 1) - 1 }, () => long)
  const rest = 'x'.repeat(argSizeMax - 'ls'.length - 1)
  expect(parseSubmission(ofCommand(...many, rest)).command.length).toBe(many.length + 2)
  expect(() => parseSubmission(ofCommand(...many, `${rest}x`))).toThrow(tooBig)
  // Escaped, a control character has six bytes.
  const escaped = (count: number) =>
    ofCommand(...Array.from({ length: count }, () => '\x01'.repeat(100_000)))
  expect(parseSubmission(escaped(6)).command.length).toBe(7)
  expect(() => parseSubmission(escaped(7))).toThrow(tooBig)
})

test.each([
  ['a umask', { umask: 0o1000 }],
  ['a umask as text', { umask: '077' }],
  ['a niceness', { nice: 20 }],
  ['a time limit', { timeLimitMs: 0 }],
  ['a name of two lines', { name: 'a\nb' }],
  ['a name without text', { name: '' }],
  ['a parent', { parent: 'me' }],
  ['no object of limits', { limits: [] }],
  ['a limit that is none', { limits: { files: 1 } }],
  ['a limit below 0', { limits: { nofile: -1 } }],
  ['a limit as text', { limits: { nofile: '1' } }],
])('%s outside of its range is EINVAL: %j', (_, options) => {
  const invalid = expect.objectContaining({ code: 'EINVAL' })
  expect(() => parseSubmission({ ...good, ...options })).toThrow(invalid)
})

test('options are stored with the spec', () => {
  const options = {
    keepChildren: true,
    umask: 0,
    limits: { nofile: 7, as: 'unlimited' },
    nice: -20,
  } as const
  const spec = specOf(parseSubmission({ ...good, ...options }))
  expect(spec).toMatchObject(options)
  expect(decodeSpec(Buffer.from(encodeSpec(spec)))).toEqual(spec)
})

test('a spec that is none is ECORRUPT', () => {
  const corrupt = expect.objectContaining({ code: 'ECORRUPT' })
  expect(() => decodeSpec(Buffer.from('{}'))).toThrow(corrupt)
  expect(() => decodeSpec(Buffer.from('nothing'))).toThrow(corrupt)
})
