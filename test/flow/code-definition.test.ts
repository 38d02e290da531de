/** The modules in which functions were defined, in this process and in programs. See rfc/24, rules 12
 *  and 13. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { runInNewContext, runInThisContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import type { FunctionCode } from '../../src/flow/code.js'
import { type AnyFunction, definingModules } from '../../src/flow/definition.js'
import { bundledPrograms } from '../support/programs.js'
import { Project } from './code-project.js'

const here = fileURLToPath(import.meta.url)
const refused = (message: RegExp) =>
  expect.objectContaining({ code: 'EINVAL', message: expect.stringMatching(message) })

class Shape {
  static area() {}
  get size() {
    return 1
  }
  draw() {}
}

function plain() {}

const forms: Readonly<Record<string, AnyFunction>> = {
  'a function': plain,
  'an arrow function': () => 1,
  'an async function': async () => 1,
  'a generator': function* () {},
  'an async generator': async function* () {},
  'a class': Shape,
  'a method': new Shape().draw,
  'a static method': Shape.area,
  'a getter': Object.getOwnPropertyDescriptor(Shape.prototype, 'size')?.get ?? (() => {}),
  'a method of an object': { m() {} }.m,
  'a function with a toString of its own': Object.assign(() => 1, { toString: () => 'no' }),
}

describe('definingModules()', () => {
  it.each(Object.entries(forms))('tells the module of %s', async (_name, fn) => {
    expect(await definingModules([fn])).toEqual([here])
  })

  it('keeps the order, and knows a function that is there twice or was asked for before', async () => {
    const closures = Array.from({ length: 600 }, (_, index) => () => index)
    const all = [...closures, definingModules, ...closures, ...Object.values(forms)]
    const expected = all.map((fn) =>
      fn === definingModules
        ? here.replace('test/flow/code-definition.test', 'src/flow/definition')
        : here,
    )
    expect(await definingModules(all)).toEqual(expected)
    expect(await definingModules(all)).toEqual(expected)
    expect(await definingModules([])).toEqual([])
  })

  it('tells functions of one text from two modules apart, however many they are', async () => {
    const source = 'export const make = () => Array.from({ length: 600 }, (_, at) => () => at + 7)'
    using project = new Project({ 'a.mjs': source, 'b.mjs': source })
    const made: AnyFunction[] = []
    const expected: string[] = []
    for (const path of ['a.mjs', 'b.mjs'].map((name) => project.path(name))) {
      const { make } = await import(pathToFileURL(path).href)
      for (const fn of make()) {
        made.push(fn)
        expected.push(path)
      }
    }
    expect(await definingModules(made.reverse())).toEqual(expected.reverse())
  })

  it('leaves nothing in the global object', async () => {
    const before = Reflect.ownKeys(globalThis)
    await definingModules([() => 1])
    await definingModules([() => 1, Math.max]).catch(() => {})
    expect(Reflect.ownKeys(globalThis)).toEqual(before)
  })

  it.each<[string, AnyFunction, RegExp]>([
    ['a built-in', Math.max, /^the function max is a built-in/],
    ['a built-in class', Map, /^the function Map is a built-in/],
    ['a function of Node', readFileSync, /^the function readFileSync is a built-in/],
    ['a bound function', plain.bind(null), /^the function bound plain is/],
    [
      'a proxy',
      new Proxy(() => 1, {}),
      /^a function without a name is a built-in, bound, or a proxy/,
    ],
    [
      'one made by eval',
      Reflect.get(globalThis, 'eval')('(function made() {})'),
      /^the function made was not defined in a file/,
    ],
    [
      'one made by new Function',
      new Function('return 1') as () => 1,
      /^the function anonymous was not defined/,
    ],
    [
      'one of a script without a file',
      runInThisContext('() => 1'),
      /was not defined in a file, but in evalmachine/,
    ],
    ['one of another context', runInNewContext('() => 1'), /was not defined in a file/],
  ])('refuses %s', async (_name, fn, message) => {
    await expect(definingModules([fn])).rejects.toEqual(refused(message))
  })
})

describe('the code of a function', () => {
  const programs = bundledPrograms({ code: 'test/flow/code-program.ts' })
  const tsx = createRequire(import.meta.url).resolve('tsx')
  const codesIn = (path: string, ...options: readonly string[]): Record<string, FunctionCode> =>
    JSON.parse(
      execFileSync(process.execPath, [...options, programs.code, path], { encoding: 'utf8' }),
    )
  const body = `
    export const arrow = () => helper
    export async function plain() {}
    export class Shape { static area() {} }
    export const { area } = Shape
    export const bound = plain.bind(null)
    export const { max } = Math`

  it.each([
    ['plain Node', 'mjs', 'commonjs', []],
    ['plain Node', 'js', 'module', []],
    ['tsx', 'ts', 'module', ['--import', tsx]],
    ['tsx', 'ts', 'commonjs', ['--import', tsx]],
    ['tsx', 'mts', 'commonjs', ['--import', tsx]],
    ['tsx', 'cts', 'module', ['--import', tsx]],
  ])(
    'is told with %s, of .%s files in a package of the type %s',
    (_name, ending, type, options) => {
      const end = ending.replace('ts', 'js')
      const typed = ending.includes('ts') ? ': unknown' : ''
      using project = new Project({
        'package.json': { type },
        [`src/a b/flow.${ending}`]: `import { helper } from '../helper.${end}'${body}`,
        [`src/helper.${ending}`]: `export const helper${typed} = 1`,
        [`src/other.${ending}`]: 'export const other = 1',
      })
      const codes = codesIn(project.path(`src/a b/flow.${ending}`), ...options)
      for (const name of ['arrow', 'plain', 'Shape', 'area']) {
        expect(Object.keys(codes[name]?.files ?? {})).toEqual([
          `src/a b/flow.${ending}`,
          `src/helper.${ending}`,
        ])
      }
      expect(codes['arrow']?.function).toMatch(/^[0-9a-f]{64}$/)
      expect(codes['arrow']?.function).not.toBe(codes['plain']?.function)
      expect(codes['bound']).toEqual(refused(/^the function bound plain is/))
      expect(codes['max']).toEqual(refused(/^the function max is/))
    },
  )

  it('is told in CommonJS, whose require is not seen', () => {
    using project = new Project({
      'flow.cjs':
        'require(\'./helper.cjs\'); exports.plain = function () {}; exports.lazy = () => import("./lazy.mjs")',
      'helper.cjs': '',
      'lazy.mjs': '',
    })
    const codes = codesIn(project.path('flow.cjs'))
    expect(Object.keys(codes['plain']?.files ?? {})).toEqual(['flow.cjs', 'lazy.mjs'])
    expect(codes['lazy']?.files).toEqual(codes['plain']?.files)
  })

  it('is told by the file, whatever name the source gives itself', () => {
    using project = new Project({
      'package.json': {},
      'flow.mjs': 'export const named = () => 1\n//# sourceURL=/other.js',
    })
    const { named } = codesIn(project.path('flow.mjs'))
    expect(Object.keys(named?.files ?? {})).toEqual(['flow.mjs'])
  })

  it('is that of a package no more than that of Node', () => {
    using project = new Project({
      'flow.mjs': "export { thing } from 'thing'",
      'node_modules/thing/package.json': { name: 'thing', version: '1.0.0', main: 'index.js' },
      'node_modules/thing/index.js': 'exports.thing = () => 1',
    })
    const codes = codesIn(project.path('flow.mjs'))
    expect(codes['thing']).toEqual(
      refused(/is a part of the package thing: give a function of your own/),
    )
  })

  it('is equal in two checkouts, and follows the text of the function', () => {
    const files = {
      'package.json': {},
      'flow.mjs': 'export const a = () => 1\nexport const b = () => 2',
    }
    using first = new Project(files)
    using second = new Project(files)
    const codes = codesIn(first.path('flow.mjs'))
    expect(codesIn(second.path('flow.mjs'))).toEqual(codes)
    expect(codes['a']?.files).toEqual(codes['b']?.files)
    expect(codes['a']?.function).not.toBe(codes['b']?.function)
  })
})
