/** The error class, the list of its codes, and what other errors become. See rfc/2. */

import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { canceled, codes, isCode, parseCode, TailraceError, toTailraceError } from '../src/error.js'
import { statusOf } from '../src/wire/status.js'

/** The table of rfc/2: code, HTTP status. */
const table = [
  ...readFileSync(new URL('../rfc/2-errors.md', import.meta.url), 'utf8').matchAll(
    /^\| `(E\w+)` \|.*\| (\d{3}) \|$/gm,
  ),
].map(([, code, status]) => [code, Number(status)] as const)

test('rfc/2 has one row for each code, in the order of the list', () => {
  expect(table.map(([code]) => code)).toEqual([...codes])
})

test('statusOf() gives the status of rfc/2 for each code', () => {
  expect(codes.map((code) => [code, statusOf(code)])).toEqual(table)
})

test('a printed error says its code', () => {
  const error = new TailraceError('ECONFLICT', 'moved')
  expect(String(error)).toBe('TailraceError [ECONFLICT]: moved')
  expect(inspect(error)).toContain("code: 'ECONFLICT'")
})

test('an error of another copy of this package is a TailraceError, and another error is none', async () => {
  const url = new URL('../src/error.ts', import.meta.url).href
  const copy: { TailraceError: typeof TailraceError } = await import(
    /* @vite-ignore */ `${url}?copy`
  )
  expect(copy.TailraceError).not.toBe(TailraceError)
  const error = new copy.TailraceError('ECONFLICT', 'moved')
  expect(error instanceof TailraceError).toBe(true)
  expect(isCode(error, 'ECONFLICT')).toBe(true)
  expect(toTailraceError(error)).toBe(error)
  const like = Object.assign(new Error('moved'), { name: 'TailraceError', code: 'ECONFLICT' })
  for (const other of [like, undefined, 'ECONFLICT'])
    expect(other instanceof TailraceError).toBe(false)
})

test('a code is not there twice', () => {
  expect(new Set(codes).size).toBe(codes.length)
})

test('a TailraceError carries its code, its cause and what failed', () => {
  const cause = new Error('below')
  const error = new TailraceError('ECONFLICT', 'moved', { cause, failed: { guard: 0, state: 7 } })
  expect(error).toMatchObject({
    name: 'TailraceError',
    code: 'ECONFLICT',
    message: 'moved',
    cause,
    failed: { guard: 0, state: 7 },
  })
  expect(error).toBeInstanceOf(Error)
  expect('cause' in new TailraceError('EIO', 'alone')).toBe(false)
})

test('isCode() is true of that code of a TailraceError only', () => {
  expect(isCode(new TailraceError('EBUSY', 'b'), 'EBUSY')).toBe(true)
  expect(isCode(new TailraceError('EBUSY', 'b'), 'EIO')).toBe(false)
  expect(isCode(Object.assign(new Error('b'), { code: 'EBUSY' }), 'EBUSY')).toBe(false)
  expect(isCode(undefined, 'EBUSY')).toBe(false)
})

test('parseCode() knows the codes and nothing else', () => {
  for (const code of codes) expect(parseCode(code)).toBe(code)
  for (const other of ['eio', 'ENOTHING', '', 'constructor', 5, undefined, null, ['EIO']]) {
    expect(parseCode(other)).toBeUndefined()
  }
})

test('toTailraceError() gives a TailraceError back as it is', () => {
  const error = new TailraceError('ENOENT', 'n')
  expect(toTailraceError(error)).toBe(error)
})

test.each<[string, unknown, string]>([
  ['an error', new Error('disk'), 'EIO'],
  ['a full disk', Object.assign(new Error('disk'), { code: 'ENOSPC' }), 'ENOSPC'],
  ['a used-up quota of the system', Object.assign(new Error('disk'), { code: 'EDQUOT' }), 'EDQUOT'],
  ['another error of the system', Object.assign(new Error('no'), { code: 'ENOENT' }), 'EIO'],
  ['an abort', new DOMException('stop', 'AbortError'), 'ECANCELED'],
  ['a time-out', new DOMException('late', 'TimeoutError'), 'ETIMEDOUT'],
  ['a string', 'oops', 'EIO'],
  ['a number', 7, 'EIO'],
])('toTailraceError() of %s keeps it as the cause', (_name, thrown, code) => {
  expect(toTailraceError(thrown)).toMatchObject({ code, cause: thrown })
})

test('toTailraceError() of an abort finds the reason that the signal had', () => {
  const reason = new TailraceError('ECLOSED', 'the store was closed')
  const abort = Object.assign(new Error('aborted', { cause: reason }), { name: 'AbortError' })
  expect(toTailraceError(abort)).toBe(reason)
})

test('canceled() says why the signal was aborted', () => {
  const closed = new TailraceError('ECLOSED', 'closed')
  expect(canceled(AbortSignal.abort(closed))).toBe(closed)
  expect(canceled(AbortSignal.abort())).toMatchObject({ code: 'ECANCELED' })
  expect(canceled(AbortSignal.abort('enough'))).toMatchObject({
    code: 'ECANCELED',
    cause: 'enough',
  })
  const late = new DOMException('late', 'TimeoutError')
  expect(canceled(AbortSignal.abort(late))).toMatchObject({ code: 'ETIMEDOUT', cause: late })
})
