/** Submissions: parsed once, and never stored with the caller's environment. */

import { expect, test } from 'vitest'
import { argsSizeMax, type Submission } from '../../src/job/job.js'
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

test('argsSizeMax bytes are taken, one more is E2BIG, for the command and for env', () => {
  const ofCommand = (size: number) => ({ command: ['ls', 'x'.repeat(size)], cwd: '/tmp', env: {} })
  const rest = 'ls'.length + 1 + '/tmp'.length + 1 + 1
  expect(parseSubmission(ofCommand(argsSizeMax - rest)).command[0]).toBe('ls')
  const tooBig = expect.objectContaining({ code: 'E2BIG' })
  expect(() => parseSubmission(ofCommand(argsSizeMax - rest + 1))).toThrow(tooBig)
  const env = { A: 'x'.repeat(argsSizeMax - 3) }
  expect(parseSubmission({ ...good, env }).env).toEqual(env)
  expect(() => parseSubmission({ ...good, env: { A: `${env.A}x` } })).toThrow(tooBig)
})

test('a spec that is none is ECORRUPT', () => {
  const corrupt = expect.objectContaining({ code: 'ECORRUPT' })
  expect(() => decodeSpec(Buffer.from('{}'))).toThrow(corrupt)
  expect(() => decodeSpec(Buffer.from('nothing'))).toThrow(corrupt)
})
