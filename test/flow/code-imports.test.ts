/** The imports of sources. See rfc/24, rules 12 to 14. */

import { describe, expect, it } from 'vitest'
import { importsOf } from '../../src/flow/imports.js'
import { importsOf as importsByPattern } from '../tidy/source.js'
import { files } from '../tidy/tree.js'

const specifiers = (source: string, path = 'a.ts') =>
  importsOf(path, source).map(({ specifier }) => specifier)
const refusal = (message: string | RegExp) =>
  expect.objectContaining({ code: 'EINVAL', message: expect.stringMatching(message) })

describe('importsOf()', () => {
  it('gives the specifier, the line, and if the import is lazy', () => {
    const source =
      "import a from './a.js'\n/* 😀 */ export * from\n  './b.js'\n\nimport(\"./c.js\")\n"
    expect(importsOf('m.ts', source)).toEqual([
      { specifier: './a.js', line: 1, isLazy: false },
      { specifier: './b.js', line: 3, isLazy: false },
      { specifier: './c.js', line: 5, isLazy: true },
    ])
  })

  it.each([
    ["import './a.js'"],
    ["import {} from './a.js'"],
    ["import a, { b as c } from './a.js'"],
    ["import * as a from './a.js'"],
    ["import type from './a.js'"],
    ["import { type A } from './a.js'"],
    ["import { type A, b } from './a.js'"],
    ["import a from './a.js' with { type: 'json' }"],
    ["export { b } from './a.js'"],
    ["export { type A } from './a.js'"],
    ["export {} from './a.js'"],
    ["export /* { */ { /* } */ } // from\nfrom './a.js'"],
    ["import { a } from './a.js'\nexport { a }"],
    ["import a from './a.js'\nexport { a as default }"],
    ["export * from './a.js'"],
    ["export * as a from './a.js'"],
    ["export { default } from './a.js'"],
    ['import("./a.js")'],
    ['import(`./a.js`)'],
    ["import(/* lazily */ './a.js', { with: { type: 'json' } })"],
    ['const a = () => import("./a.js")'],
    ['const a = async () => `$' + '{await import("./a.js")}`'],
    ["import { '😀' as b } from './a.js'"],
    ["import a from './\\u0061.js'"],
    ['if (x) { } /\'/.test(y); import("./a.js")'],
  ])('finds %s', (source) => {
    expect(specifiers(source)).toEqual(['./a.js'])
  })

  it.each([
    ["import type { A } from './a.js'"],
    ["import type A from './a.js'"],
    ["import type * as A from './a.js'"],
    ["import /* of */ type { A } from './a.js'"],
    ["export type { A } from './a.js'"],
    ["export type * from './a.js'"],
    ["export type {} from './a.js'"],
    ["import type {} from './a.js'"],
    ["import type { A } from './a.js'\nexport { A }"],
    ['const a = "export {} from \'./a.js\'"'],
    ['type A = import("./a.js").A'],
    ['let a: typeof import("./a.js")'],
    ["// import './a.js'"],
    ["/* import './a.js' */"],
    ['const a = "import \'./a.js\'"'],
    ["const a = `import './a.js'`"],
    ["const a = /import '.\\/a.js'/"],
    ['import("./a" + ".js")'],
    ['import(`./$' + '{a}.js`)'],
    ["declare module 'x' { export * from './a.js' }"],
    ["import a = require('./a.js')"],
    ["require('./a.js')"],
    ['import.meta.url'],
  ])('leaves out %s', (source) => {
    expect(specifiers(source)).toEqual([])
  })

  it.each([
    ['a function with a type parameter', 'const f = <T>(x: T): T => x'],
    ['a cast before a division', 'const a = (b as number) / 2 / c'],
    ['a cast before a regular expression', "const a = <RegExp>/'/"],
    ['a ! before a division', 'const a = b! / 2; const d = "/"'],
    ['a type argument before a regular expression', "const a = f<string>(/['`]/)"],
    ['satisfies', "const a = { b: /'/ } satisfies Record<string, RegExp>"],
    ['a decorator', "@sealed({ name: '}' }) class A { @bound m() {} }"],
    ['an enum and a namespace', "enum A { B = 'b' } namespace N { export const c = /`/ }"],
    [
      'an abstract class with parameter properties',
      'abstract class A { constructor(readonly b: 1) {} }',
    ],
    ['an overload', 'function f(a: string): void\nfunction f(a: unknown) {}'],
    ['a template in a template type', 'type A = `$' + '{string}/*`'],
    ['an assertion', 'function f(a: unknown): asserts a is string {}'],
    ['an accessor', 'class A { accessor b = 1; static { } #c? = 2 }'],
    ['using', 'using a = b(); await using c = d()'],
  ])('reads through %s', (_name, code) => {
    expect(specifiers(`import './a.js'\n${code}\nimport './b.js'\n`)).toEqual(['./a.js', './b.js'])
  })

  it('reads JSX where the ending of the file says so', () => {
    const source = "const a = <p class='x'>Don't {`\n`}</p>\nimport './b.js'\n"
    expect(specifiers(source, 'a.tsx')).toEqual(['./b.js'])
    expect(specifiers(source, 'a.jsx')).toEqual(['./b.js'])
    expect(() => specifiers(source, 'a.ts')).toThrow(refusal(/^a\.ts:1: /))
  })

  it.each([
    ['return import("./a.js")', 'a.cjs'],
    ['return import("./a.js")', 'a.js'],
    ['await import("./a.js")', 'a.js'],
    ["#!/usr/bin/env node\nimport './a.js'", 'a.js'],
    ["#!/usr/bin/env node\nimport './a.js'", 'a'],
    ["\ufeffimport './a.js'", 'a.ts'],
    ['with (a) { import("./a.js") }', 'a.cjs'],
  ])('reads %j of %s, a module or not', (source, path) => {
    expect(specifiers(source, path)).toEqual(['./a.js'])
  })

  it('says in which file and line it cannot read', () => {
    expect(() => specifiers("import './a.js'\nconst = 1\n", '/x/a.ts')).toThrow(
      refusal(/^\/x\/a\.ts:2: the imports of this file cannot be read: /),
    )
    expect(() => specifiers('\nimport("./\\u0061.js")', '/x/a.ts')).toThrow(
      refusal(/^\/x\/a\.ts:2: .*backslash/),
    )
  })

  it('agrees on each file of this repository with the patterns of the tidy rules', () => {
    expect(files.length).toBeGreaterThan(300)
    for (const { path, text } of files) {
      // The patterns take a type for an import.
      const imports = importsByPattern(text.replace(/typeof import\('[^']+'\)/g, ''))
      const expected = imports.filter(({ typeOnly }) => !typeOnly).map(({ from }) => from)
      expect({ path, imports: specifiers(text, path).sort() }).toEqual({
        path,
        imports: expected.sort(),
      })
    }
  })
})
