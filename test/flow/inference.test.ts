/** The types of flows: they would not compile if a function got other values than its inputs say. */

import { expect, expectTypeOf, it } from 'vitest'
import type { FlowInput, FlowRun, FlowRunOptions, Target } from '../../src/api/flow.js'
import type { Packed } from '../../src/api/value.js'
import { cross, file, map, packed, run, target } from '../../src/flow/flow.js'

const number = target('number', [], () => 1)
const text = target('text', [], async () => 'text')
const maybe = target('maybe', [], (): string | undefined => undefined)
const numbers = target('numbers', [], () => [1, 2])
const words: Target<readonly string[]> = target('words', [], () => ['a'] as const)

it('a target has the type of what its function returns or promises', () => {
  expectTypeOf(number).toEqualTypeOf<Target<number>>()
  expectTypeOf(text).toEqualTypeOf<Target<string>>()
  expectTypeOf(maybe).toEqualTypeOf<Target<string | undefined>>()
  expectTypeOf(number).toExtend<Target<unknown>>()
  expectTypeOf(number).not.toExtend<Target<string>>()
})

it('a function gets the results of targets, and plain values as they are', () => {
  target('t', [number, text, maybe, 7, 'a', null, 1n, true], (...values) => {
    expectTypeOf(values).toEqualTypeOf<
      [number, string, string | undefined, 7, 'a', null, 1n, true]
    >()
  })
  target('t', [[number, text], { number, inner: { texts: [text] } }], (tuple, object) => {
    expectTypeOf(tuple).toEqualTypeOf<[number, string]>()
    expectTypeOf(object).toEqualTypeOf<{ number: number; inner: { texts: [string] } }>()
  })
  const many = [number, number].slice()
  target('t', [many, ...many], (all, ...rest) => {
    expectTypeOf(all).toEqualTypeOf<number[]>()
    expectTypeOf(rest).toEqualTypeOf<number[]>()
  })
  target('t', many, (...all) => {
    expectTypeOf(all).toEqualTypeOf<number[]>()
  })
  target('t', [packed(numbers)], (value) => {
    expectTypeOf(value).toEqualTypeOf<Packed<number[]>>()
  })
  target('t', [file('a.txt'), { files: [file('b.txt'), 'c'] }], (...values) => {
    expectTypeOf(values).toEqualTypeOf<[string, { files: [string, 'c'] }]>()
  })
  const mixed: readonly FlowInput[] = [number, 1]
  target('t', mixed, (...values) => {
    expectTypeOf(values).toEqualTypeOf<unknown[]>()
  })
  // A function may declare more than it gets.
  target('t', [7, [number, number]], (_seven: number, _all: readonly number[]) => undefined)
})

it('map gives elements, then the other inputs', () => {
  const mapped = map('m', [numbers, text, 'x'], (element, ...rest) => {
    expectTypeOf(element).toEqualTypeOf<number>()
    expectTypeOf(rest).toEqualTypeOf<[string, 'x']>()
    return Promise.resolve(`${element}`)
  })
  expectTypeOf(mapped).toEqualTypeOf<Target<string[]>>()
  map('again', [mapped], (element) => {
    expectTypeOf(element).toEqualTypeOf<string>()
  })
  map('m', [words], (word) => {
    expectTypeOf(word).toEqualTypeOf<string>()
  })
})

it('cross gives an element of each', () => {
  const crossed = cross('c', [numbers, words, numbers], (...elements) => {
    expectTypeOf(elements).toEqualTypeOf<[number, string, number]>()
    return 1
  })
  expectTypeOf(crossed).toEqualTypeOf<Target<number[]>>()
})

it('run gives results in the form of what it is asked for', () => {
  const all = () => run({ number, list: [text, maybe], inner: { words } })
  expectTypeOf(all).returns.toEqualTypeOf<
    FlowRun<{
      number: number
      list: [string, string | undefined]
      inner: { words: readonly string[] }
    }>
  >()
  const one = () => run(number)
  expectTypeOf(one).returns.toEqualTypeOf<FlowRun<number>>()
  const many = () => run([number, number].slice())
  expectTypeOf(many).returns.toEqualTypeOf<FlowRun<number[]>>()
})

it('null and undefined stand in the types where a failure may leave them', () => {
  const orNull = target('t', [], () => 1, { onError: 'null' })
  expectTypeOf(orNull).toEqualTypeOf<Target<number | null>>()
  target('t', [orNull], (value) => {
    expectTypeOf(value).toEqualTypeOf<number | null>()
  })
  expectTypeOf(target('t', [], () => 1, { retries: 1 })).toEqualTypeOf<Target<number>>()
  const some = { onError: 'continue' } as { readonly onError: 'continue' | 'null' }
  expectTypeOf(target('t', [], () => 1, some)).toEqualTypeOf<Target<number | null>>()
  const mapped = map('m', [numbers], () => 'a', { onError: 'null' })
  expectTypeOf(mapped).toEqualTypeOf<Target<(string | null)[]>>()
  const trimmed = map('m', [numbers], () => 'a', { onError: 'trim' })
  expectTypeOf(trimmed).toEqualTypeOf<Target<string[]>>()
  const crossed = cross('c', [numbers], () => 1, { onError: 'null' })
  expectTypeOf(crossed).toEqualTypeOf<Target<(number | null)[]>>()
  const all = () => run({ number, list: [text, numbers] }, { onError: 'null' })
  expectTypeOf(all).returns.toEqualTypeOf<
    FlowRun<{
      number: number | null
      list: [string | null, number[] | (number | null)[] | null]
    }>
  >()
  const left = () => run([number], { onError: 'trim', retries: 1 })
  expectTypeOf(left).returns.toEqualTypeOf<FlowRun<[number | undefined]>>()
  const going = () => run([number], { onError: 'continue' })
  expectTypeOf(going).returns.toEqualTypeOf<FlowRun<[number]>>()
  const unknown = (options: FlowRunOptions) => run(number, options)
  expectTypeOf(unknown).returns.toEqualTypeOf<FlowRun<number | null | undefined>>()
})

it('wrong inputs and functions do not compile', () => {
  const wrong = () => {
    // @ts-expect-error: the function takes a text
    target('t', [number], (value: string) => value)
    // @ts-expect-error: a date is no plain value
    target('t', [new Date()], () => 1)
    // @ts-expect-error: a function is no plain value
    target('t', [() => 1], () => 1)
    // @ts-expect-error: undefined is no value
    target('t', [undefined], () => 1)
    // @ts-expect-error: no array to go through
    map('m', [number], () => 1)
    // @ts-expect-error: the elements are numbers
    map('m', [numbers], (value: string) => value)
    // @ts-expect-error: all inputs are targets
    cross('c', [numbers, 7], () => 1)
    // @ts-expect-error: there is no such option
    target('t', [], () => 1, { need: {} })
    // @ts-expect-error: the result may be null
    target('t', [target('t', [], () => 1, { onError: 'null' })], (value: number) => value)
    // @ts-expect-error: it has no branches
    target('t', [], () => 1, { onError: 'trim' })
    // @ts-expect-error: there is no such option, beside one that there is
    target('t', [], () => 1, { retries: 1, need: {} })
    // @ts-expect-error: a run makes targets
    run([1])
    // @ts-expect-error: a run makes targets
    run(packed(number))
  }
  expect(wrong).toThrow()
})
