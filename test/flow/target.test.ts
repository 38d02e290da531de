/** Targets: what `target`, `map`, `cross` and `packed` take, and what they refuse. See rfc/24, rules 1 to
 *  3. */

import { describe, expect, it } from 'vitest'
import { inputDepthMax, inputsMax, targetNameSizeMax } from '../../src/api/flow.js'
import { cross, map, packed, run, target } from '../../src/flow/flow.js'

const nothing = () => undefined
const list = target('list', [], () => [1])
/** Calls that the compiler refuses. */
const untyped = { target, map, cross, packed, run } as unknown as Readonly<
  Record<
    'target' | 'map' | 'cross' | 'packed' | 'run',
    (...values: readonly unknown[]) => { readonly name: string }
  >
>

function refused(message: string, code = 'EINVAL') {
  return expect.objectContaining({ code, message: expect.stringContaining(message) })
}

/** A value within so many arrays. */
function nested(depth: number): unknown {
  let value: unknown = 1
  for (let at = 0; at < depth; at++) value = [value]
  return value
}

describe('names', () => {
  it.each(['a', '_', '0', 'a.b-c_d', 'A'.repeat(targetNameSizeMax)])('%s is one', (name) => {
    expect(target(name, [], nothing)).toMatchObject({ type: 'target', name })
  })

  it.each([
    '',
    '.a',
    '-a',
    'a b',
    'a/b',
    'a[0]',
    'ä',
    'a\n',
    'A'.repeat(targetNameSizeMax + 1),
    7,
    undefined,
  ])('%j is none', (name) => {
    for (const make of ['target', 'map', 'cross'] as const) {
      expect(() => untyped[make](name, [list], nothing)).toThrow(refused('the name of a target is'))
    }
  })
})

describe('arguments', () => {
  it.each<[string, () => unknown, string]>([
    ['no array', () => untyped.target('t', 'x', nothing), 'target t: inputs must be an array'],
    ['no function', () => untyped.target('t', [], 1), 'target t: the function must be a function'],
    ['an unknown option', () => untyped.target('t', [], nothing, { need: {} }), 'no field "need"'],
    ['no options', () => untyped.target('t', [], nothing, 7), 'options must be an object'],
    ['a version', () => target('t', [], nothing, { version: Number.NaN }), 'options.version must'],
    ['half a pair', () => target('t', [], nothing, { version: '\ud800' }), 'options.version must'],
    ['half a need', () => target('t', [], nothing, { needs: { cpu: 0.5 } }), 'options.needs must'],
    ['a negative', () => target('t', [], nothing, { needs: { cpu: -1 } }), 'options.needs must'],
    ['a list', () => untyped.target('t', [], nothing, { needs: [1] }), 'options.needs must'],
    ['a map of nothing', () => untyped.map('m', [], nothing), 'map m has no input'],
    ['a cross of nothing', () => untyped.cross('c', [], nothing), 'cross c has no input'],
    ['a map of a value', () => untyped.map('m', [[1]], nothing), 'map m: inputs[0] is no target'],
    [
      'a map of a packed array',
      () => untyped.map('m', [packed(list)], nothing),
      'map m: inputs[0] is no target',
    ],
    [
      'a cross of a value',
      () => untyped.cross('c', [list, [1]], nothing),
      'cross c: inputs[1] is no target',
    ],
    ['what is packed', () => untyped.packed([1]), 'the argument of packed() is no target'],
  ])('refuse %s', (_name, make, message) => {
    expect(make).toThrow(refused(message))
  })

  it('of a run are checked at once', () => {
    expect(() => untyped.run(7)).toThrow(refused('what run() is to make is no target'))
    expect(() => untyped.run([list, { a: 7 }])).toThrow(refused('what run() is to make[1].a is no'))
    expect(() => untyped.run(packed(list))).toThrow(refused('is no target'))
    expect(() => untyped.run(new Map())).toThrow(refused('is a Map'))
    expect(() => untyped.run(list, { parallel: 1 })).toThrow(refused('no field "parallel"'))
    for (const concurrency of [0, -1, 1.5, Number.POSITIVE_INFINITY, '1']) {
      expect(() => untyped.run(list, { concurrency })).toThrow(refused('options.concurrency must'))
    }
    expect(() => untyped.run(list, { limits: { cpu: 1.5 } })).toThrow(refused('options.limits'))
    expect(() => untyped.run(list, { onError: 'retry' })).toThrow(refused('options.onError'))
    expect(() => untyped.run(list, { signal: 7 })).toThrow(refused('options.signal'))
  })
})

describe('inputs', () => {
  class Own {}
  const own: unknown = new Own()

  it.each<[unknown, string]>([
    [undefined, 'inputs[1] is undefined'],
    [Number.NaN, 'inputs[1] is NaN'],
    [nothing, 'inputs[1] is a function'],
    ['\ud800', 'inputs[1] is text with half'],
    [new Date(0), 'inputs[1] is a Date: give'],
    [{ a: [1, { 'b c': new Map() }] }, 'inputs[1].a[1]["b c"] is a Map'],
    [[1, own], 'inputs[1][1] is of the class Own'],
    [Promise.resolve(1), 'inputs[1] is a promise'],
    [new Float64Array(1), 'inputs[1] is a typed array'],
    [[1, undefined], 'inputs[1][1] is undefined'],
    [new Array(1), 'inputs[1][0] is undefined'],
    [Object.assign([1], { a: 1 }), 'inputs[1] has fields beside its items'],
    [{ [Symbol('s')]: 1 }, 'inputs[1] has a symbol as a name'],
    [nested(inputDepthMax + 1), `inputs[1]${'[0]'.repeat(inputDepthMax)} is deeper than`],
  ])('refuse %o', (input, message) => {
    expect(() => untyped.target('t', [1, input], nothing)).toThrow(refused(`target t: ${message}`))
    expect(() => untyped.map('t', [list, input], nothing)).toThrow(refused(`map t: ${message}`))
  })

  it('refuse an array within itself', () => {
    const within: unknown[] = []
    within.push(within)
    expect(() => untyped.target('t', [within], nothing)).toThrow(refused('is deeper than'))
  })

  it('are at most so many, where an array of more is one', async () => {
    const many = new Array(inputsMax).fill(1)
    const made = target('t', many, (...values) => values.length)
    expect(await run(made).result).toBe(inputsMax)
    const more = [...many, 1]
    expect(() => target('t', more, nothing)).toThrow(refused(`more than ${inputsMax}`, 'E2BIG'))
    expect(await run(target('t', [more], (values) => values.length)).result).toBe(inputsMax + 1)
  })

  it('give what stands in them, with results in the places of targets', async () => {
    const one = target('one', [], () => 1)
    const bytes = new Uint8Array([1])
    const inputs = [
      one,
      null,
      true,
      2n,
      'x',
      bytes,
      [one, [one]],
      { b: one, a: { c: one } },
    ] as const
    const made = target('t', inputs, (...values) => values)
    const expected = [1, null, true, 2n, 'x', bytes, [1, [1]], { a: { c: 1 }, b: 1 }]
    expect(await run(made).result).toEqual(expected)
  })

  it('go as deep as they may', async () => {
    const deep = nested(inputDepthMax)
    const made = untyped.target('t', [deep], (value: unknown) => value)
    expect(await run(made as typeof list).result).toEqual(deep)
  })

  it('leave out fields that are undefined, and order the others by their names', async () => {
    const made = target('t', [{ b: list, c: undefined, a: 1, ['__proto__']: 2 }], (value) =>
      JSON.stringify(value),
    )
    expect(await run(made).result).toBe('{"__proto__":2,"a":1,"b":[1]}')
  })

  it('are taken as they are when the target is made', async () => {
    const input = { a: [1] }
    const made = target('t', [input], (value) => JSON.stringify(value))
    input.a.push(2)
    expect(await run(made).result).toBe('{"a":[1]}')
  })
})
