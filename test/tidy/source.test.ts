/** What the tidy rules take for code, for imports, for doc comments and for loops. */

import { expect, test } from 'vitest'
import { citationsIn } from './citations.js'
import { codeOf, docCommentsOf, importsOf, loopsOf } from './source.js'

test.each([
  ['a comment', 'a // any\nb', 'a b'],
  ['a long comment', 'a /* any\n any */ b', 'a b'],
  ['a string', 'a(\'any // x\', "any")', 'a( , )'],
  ['a quote in a string', "a('it\\'s any') + b", 'a( ) + b'],
  ['a template, but not its code', ['`any $', '{code + 1} any` + b'].join(''), '(code + 1) + b'],
  ['a regular expression', 'a.test(/[\'"]any/g) + b', 'a.test( ) + b'],
  ['no division', 'a / b / any', 'a / b / any'],
])('codeOf() blanks %s', (_name, source, code) => {
  const blanked = codeOf(source)
  expect(blanked.replace(/\s+/g, ' ').trim()).toBe(code)
  expect(blanked.split('\n').length).toBe(source.split('\n').length)
})

test('importsOf() finds imports of every form and nothing else', () => {
  const source = `/** import 'comment' */
import { a } from './a.js'
import { b, type B } from '../b.js'
import type { C } from './c.js'
import 'd'
import * as e from 'node:e'
export { f } from './f.js'
export type { G } from './g.js'
const h = await import('h')
export const i = "import { x } from './x.js'"
export const from = 'y'
`
  expect(importsOf(source)).toEqual([
    { from: './a.js', typeOnly: false, kind: 'import' },
    { from: '../b.js', typeOnly: false, kind: 'import' },
    { from: './c.js', typeOnly: true, kind: 'import' },
    { from: 'd', typeOnly: false, kind: 'import' },
    { from: 'node:e', typeOnly: false, kind: 'import' },
    { from: './f.js', typeOnly: false, kind: 'export' },
    { from: './g.js', typeOnly: true, kind: 'export' },
    { from: 'h', typeOnly: false, kind: 'import' },
  ])
})

test('docCommentsOf() gives doc comments of files, declarations and members, and no other', () => {
  const source = `#!/usr/bin/env node
/** Head,
 *  on two lines. */

/* not this */ // /** nor this */
const text = '/** nor that */' + \`/** nor these \${code} */\`
export type T = {
  /**
   * Member.
   */
  readonly member: string /** Behind. */
}
`
  expect(docCommentsOf(source)).toEqual([
    { line: 2, text: 'Head, on two lines.' },
    { line: 8, text: 'Member.' },
    { line: 11, text: 'Behind.' },
  ])
})

test('loopsOf() gives the bodies of loops, with what is inside them', () => {
  const code = 'f() { g() } while (a) { b({ c }) } for (let i = 0; i < 3; i++) { d() } e()'
  expect(loopsOf(code).map((body) => body.trim())).toEqual(['b({ c }) }', 'd() }'])
})

test.each([
  ['rfc/4', ['4']],
  ['rfc/4, rule 2; rfc/5', ['4', '4.2', '5']],
  ['rfc/4 rule 2', ['4', '4.2']],
  ['rfc/4, rules 2 to 4, 6 and 8, and rfc/5, rule 1', '4 4.2 4.3 4.4 4.6 4.8 5 5.1'.split(' ')],
  ['rfc/4,\n *  rule 2, and rules 3\n *  and 5 of rfc/6', ['4', '4.2', '6.3', '6.5']],
  ['rule 7', []],
])('citationsIn() of %j', (text, expected) => {
  expect(cited(text)).toEqual(expected)
})

test('citationsIn() of a page takes a bare rule for one of its own', () => {
  expect(cited('rules 3 and 4 (rfc/11, rule 8; rule 6 there)', '9')).toEqual(
    '9.3 9.4 11 11.8'.split(' '),
  )
})

function cited(text: string, own?: string): readonly string[] {
  return citationsIn(text, own)
    .map(({ number, rule }) => (rule === undefined ? number : `${number}.${rule}`))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}
