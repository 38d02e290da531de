/** Calls that are reopened from what the store has of them, and made again without it. See rfc/27. */

import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Target } from '../../src/api/flow.js'
import type { ReopenedCall } from '../../src/api/flow-look.js'
import type { Store } from '../../src/api/store.js'
import { openCache } from '../../src/cache/cache.js'
import { writeResult } from '../../src/flow/call-directory.js'
import {
  callAgain,
  command,
  commands,
  cross,
  directory as directoryOf,
  element,
  file,
  map,
  packed,
  reopen,
  run,
  target,
} from '../../src/flow/flow.js'
import { open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'
import * as fn from './reopen-functions.js'

let store: Store
let directory: string

beforeEach(async () => {
  store = await open()
  directory = await mkdtemp(join(tmpdir(), 'tailrace-reopen-test-'))
})
afterEach(async () => {
  await store.close()
  await rm(directory, { recursive: true })
})

const at = (name: string) => join(directory, name)
const reopened = (name: string, to = 'call', options = {}) =>
  reopen(name, { store, directory: at(to), ...options })

/** Runs targets that fail, and returns the error. */
async function failing(...wanted: readonly Target<unknown>[]): Promise<unknown> {
  try {
    await run(wanted, { store, onError: 'continue' }).result
  } catch (error) {
    return error
  }
  throw new Error('they were made')
}

/** The text of an input of a reopened call. */
async function inputText(call: ReopenedCall, index: number): Promise<string> {
  return readFile(join(call.directory, call.inputs[index]?.path ?? 'none'), 'utf8')
}

it('writes what a call got as files, and calls the function with just that', async () => {
  const list = target('list', [[1, 2]], fn.same)
  const bytes = target('bytes', [new Uint8Array([7, 0, 255])], fn.same)
  const words = map('words', [target('three', [['a', 'b']], fn.same)], fn.same)
  const inputs = [list, bytes, 'text', { of: [list, 5n], no: null }, words] as const
  const bad = target('bad', inputs, fn.refuseMany)
  const error = await failing(bad)
  expect(error).toMatchObject({ message: 'refused [5,[1,2]]' })
  const call = await reopened('bad')
  expect(call).toMatchObject({
    kind: 'function',
    state: 'failed',
    error: { message: 'refused [5,[1,2]]' },
  })
  expect(call.inputs.map(({ path }) => path)).toEqual(
    ['0-list.json', '1-bytes.bin', '2.txt', '3.json', '4-words.json'].map(
      (name) => `inputs/${name}`,
    ),
  )
  expect(JSON.parse(await inputText(call, 0))).toEqual([1, 2])
  expect([...(await readFile(at('call/inputs/1-bytes.bin')))]).toEqual([7, 0, 255])
  expect(await inputText(call, 2)).toBe('text')
  expect(JSON.parse(await inputText(call, 3))).toEqual({ no: null, of: [[1, 2], { bigint: '5' }] })
  expect(JSON.parse(await inputText(call, 4))).toEqual(['a', 'b'])
  // Nothing of the store is needed any more.
  await store.close()
  const again = await callAgain(at('call'), [bad])
  expect(again.differences).toEqual([])
  await expect(again.call()).rejects.toThrow('refused [5,[1,2]]')
  store = await open()
})

it('has directories that are gone', async () => {
  await mkdir(at('docs/a'), { recursive: true })
  await writeFile(at('docs/a/run'), 'one\n', { mode: 0o755 })
  await writeFile(at('docs/a/b'), 'two\n')
  const input = directoryOf(at('docs'))
  const bad = command('bad', { run: ['sh', '-c', 'exit 3'], in: { docs: input }, cwd: 'docs/a' })
  const other = target('other', [input], fn.refuseDirectory)
  await failing(bad, other)
  await rm(at('docs'), { recursive: true })
  const { command: told } = await reopened('bad')
  expect(told?.cwd).toBe('docs/a')
  expect(await readFile(at('call/work/docs/a/b'), 'utf8')).toBe('two\n')
  expect((await stat(at('call/work/docs/a/run'))).mode & 0o777).toBe(0o755)
  expect((await reopened('other', 'other')).inputs).toEqual([{ name: '0', path: 'inputs/0/docs' }])
  await expect((await callAgain(at('other'), other)).call()).rejects.toThrow('refused a,a/b,a/run')
})

it('has files that are gone, and gives packed inputs packed', async () => {
  await writeFile(at('rows'), 'one\n')
  const bad = target('bad', [file(at('rows'))], fn.refuseFile)
  const other = target('other', [packed(target('list', [[1]], fn.same))], fn.refusePacked)
  await failing(bad, other)
  await rm(at('rows'))
  const { inputs } = await reopened('bad')
  expect(inputs).toEqual([{ name: '0', path: 'inputs/0/rows' }])
  await expect((await callAgain(at('call'), bad)).call()).rejects.toThrow('refused one')
  await reopened('other', 'packed')
  await expect((await callAgain(at('packed'), other)).call()).rejects.toThrow('refused [1]')
})

it('tells what differs from the last success, and what the code has of its own', async () => {
  const odd = (value: number, call = fn.refuseOdd) => target('odd', [value], call)
  await run(odd(2), { store }).result
  await failing(odd(3))
  const call = await reopened('odd')
  expect(call.differences).toEqual([{ path: 'inputs[0].value', before: 2, after: 3 }])
  expect(call.lastMade).toMatch(/^r/)
  const again = await callAgain(at('call'), odd(5, fn.same))
  expect(again.differences.map(({ path }) => path)).toEqual(['function', 'inputs[0].value'])
  // It is called with what the call got, whatever the code says.
  expect(await again.call()).toBe(3)
})

it('reopens branches: of a map over a map that lost one, and of a cross', async () => {
  const numbers = target('numbers', [[1, 2, 4, 6]], fn.same)
  const even = map('even', [numbers], fn.refuseOdd, { onError: 'trim' })
  const bad = map('bad', [even, 'x'], fn.refuseFour)
  const letters = target('letters', [['a', 'b']], fn.same)
  const pairs = cross('pairs', [letters, even], fn.refuse)
  await failing(bad, pairs)
  expect(await inputText(await reopened('even[0]', 'even'), 0)).toBe('1\n')
  const call = await reopened('bad[1]')
  expect(call.inputs.map(({ name }) => name)).toEqual(['0-element', '1'])
  expect(await inputText(call, 0)).toBe('4\n')
  await expect((await callAgain(at('call'), bad)).call()).rejects.toThrow('refused [4,"x"]')
  await reopened('pairs[1,2]', 'pair')
  await expect((await callAgain(at('pair'), pairs)).call()).rejects.toThrow('refused ["b",6]')
})

it('tells inputs that are gone, or are others now', async () => {
  const list = target('list', [[1, 2]], fn.same)
  const bad = target('bad', [list, 'text'], fn.refuse)
  await failing(bad)
  const cache = openCache(store)
  const { results } = await cache.results.list()
  for (const { id } of results) await cache.results.remove(id)
  const call = await reopened('bad')
  expect(call.inputs).toEqual([
    {
      name: '0-list',
      missing: 'the result of list is not here: the cache does not have it any more',
    },
    { name: '1', path: 'inputs/1.txt' },
  ])
  await expect((await callAgain(at('call'), bad)).call()).rejects.toMatchObject({
    code: 'ENOENT',
    message: expect.stringContaining('the result of list is not here'),
  })
})

it('knows long arrays of inputs by the code that gives them', async () => {
  const all = new Array<Target<number>>(1_001).fill(target('one', [5], fn.same))
  const bad = (targets: typeof all) => target('bad', [targets], fn.refuseAll)
  await failing(bad(all))
  expect((await reopened('bad')).inputs).toEqual([
    { name: '0', missing: expect.stringContaining('known by the code') },
  ])
  await expect((await callAgain(at('call'), bad(all))).call()).rejects.toThrow('refused 5005')
  const fewer = await callAgain(at('call'), bad(all.slice(1)))
  expect(fewer.differences.map(({ path }) => path)).toEqual([
    'inputs[0].itemsHash',
    'inputs[0].items',
  ])
  await expect(fewer.call()).rejects.toMatchObject({ code: 'ENOENT' })
})

it('reopens calls that made their results', async () => {
  const list = target('list', [[1, 2]], fn.same)
  const squares = map('squares', [list, list], fn.same)
  const last = target('last', [squares, list], fn.same)
  await run(last, { store }).result
  const call = await reopened('last')
  expect(call).toMatchObject({ state: 'made', kind: 'function' })
  expect(JSON.parse(await inputText(call, 0))).toEqual([1, 2])
  expect(await (await callAgain(at('call'), last)).call()).toEqual([1, 2])
  const branch = await reopened('squares[1]', 'branch')
  expect(await inputText(branch, 0)).toBe('2\n')
  expect(JSON.parse(await inputText(branch, 1))).toEqual([1, 2])
})

it('takes the last that failed before the last that did not, unless it is asked', async () => {
  await failing(target('odd', [3], fn.refuseOdd))
  await run(target('odd', [4], fn.refuseOdd), { store }).result
  expect(await inputText(await reopened('odd'), 0)).toBe('3\n')
  expect(await inputText(await reopened('odd', 'made', { made: true }), 0)).toBe('4\n')
})

it('refuses a target that was never called, a directory that is not empty, and none', async () => {
  await failing(target('bad', [], fn.refuse))
  await expect(reopened('none')).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(reopened('bad', 'call', { made: true })).rejects.toMatchObject({ code: 'ENOENT' })
  await mkdir(at('full/of'), { recursive: true })
  await expect(reopened('bad', 'full')).rejects.toMatchObject({ code: 'EEXIST' })
  const bad = target('other', [], fn.refuse)
  await expect(callAgain(at('full'), bad)).rejects.toMatchObject({ code: 'ENOENT' })
  await reopened('bad')
  await expect(callAgain(at('call'), bad)).rejects.toMatchObject({
    message: 'there is no target bad among other and what they depend on',
  })
})

it('tells the error of a call that had not begun', async () => {
  await failing(target('bad', [file(at('none'))], fn.refuseFile))
  const { kind, inputs, error } = await reopened('bad')
  expect([kind, inputs]).toEqual(['none', []])
  expect(error?.message).toContain(`the file ${at('none')}`)
})

it('lays out the directory of a command for an element', async () => {
  const words = target('words', [['one', 'two']], fn.same<readonly string[]>)
  await failing(
    commands('bad', words, { run: ['sh', '-c', 'exit 3', 'sh', element], in: { in: element } }),
  )
  const { kind, command: told } = await reopened('bad[1]')
  expect([kind, told?.run]).toEqual(['command', ['sh', '-c', 'exit 3', 'sh', 'two']])
  expect(await readFile(at('call/work/in'), 'utf8')).toBe('two')
})

it('lays out the directory of a command', async () => {
  await writeFile(at('in'), 'content\n')
  const list = target('text', ['of a target'], fn.same)
  await failing(
    command('bad', {
      run: ['sh', '-c', 'exit 3'],
      in: { 'a/b': file(at('in')), c: list, d: 'plain' },
      stdin: 'stdin',
      out: { made: 'out/made' },
      env: { COLOR: 'blue' },
    }),
  )
  await rm(at('in'))
  const { kind, command: told } = await reopened('bad')
  expect(kind).toBe('command')
  expect(told).toEqual({
    run: ['sh', '-c', 'exit 3'],
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', COLOR: 'blue' },
    stdin: true,
    out: { made: 'out/made' },
  })
  const texts = ['work/a/b', 'work/c', 'work/d', 'stdin'].map((path) =>
    readFile(at(`call/${path}`), 'utf8'),
  )
  expect(await Promise.all(texts)).toEqual(['content\n', 'of a target', 'plain', 'stdin'])
  expect(await readdir(at('call/work'))).toEqual(['a', 'c', 'd', 'out'])
  expect(existsSync(at('call/inputs'))).toBe(false)
})

it('writes no result to a place that the store names', async () => {
  const bytes = async function* () {
    yield Buffer.from('x')
  }
  const escaped = writeResult(at('call'), '../../../escaped', bytes())
  expect((await refusal(escaped)).code).toBe('ECORRUPT')
  expect(await readdir(directory, { recursive: true })).not.toContain('escaped')
})
