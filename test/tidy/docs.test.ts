/** The pages below `docs/`, and the list of changes: what they link to and name is there, and each promise of
 *  `docs/guarantees.md` has a rule and a test. That cited rules exist is checked with those of all other pages, in
 *  test/tidy.test.ts. */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { citationsIn } from './citations.js'
import { headingsOf, tablesOf } from './markdown.js'
import { nothing, pathsIn, readText, repository } from './tree.js'

const pages = [...pathsIn('docs'), 'CHANGELOG.md']
  .filter((path) => path.endsWith('.md') && existsSync(join(repository, path)))
  .map((path) => ({ path, text: readText(path) }))

/** The test files that a text names. */
function testsIn(text: string): string[] {
  return [...text.matchAll(/`(test\/[^`]+)`/g)].map(([, path = '']) => path)
}

test('every link of a page leads to a file that is there, and to a heading of it', () => {
  nothing(
    pages.flatMap(({ path, text }) =>
      [...text.matchAll(/\]\(([^):#]*)(?:#([^)]+))?\)/g)].flatMap(([, file = '', heading]) => {
        const target = file === '' ? path : join(dirname(path), file)
        if (!existsSync(join(repository, target))) return [`${path} links to ${target}: it is gone`]
        if (heading === undefined || headingsOf(readText(target)).includes(heading)) return []
        return [`${path} links to ${target}#${heading}, which has no such heading`]
      }),
    ),
  )
})

test('every file of src and test that a page or an rfc names is there', () => {
  const rfcs = pathsIn('rfc').map((path) => ({ path, text: readText(path) }))
  nothing(
    [...pages, ...rfcs].flatMap(({ path, text }) =>
      [...text.matchAll(/`((?:src|test|share|bench)\/[^`\s]*)`/g)]
        .map(([, named = '']) => named)
        .filter((named) => !existsSync(join(repository, named)))
        .map((named) => `${path} names ${named}, which is gone`),
    ),
  )
})

test('every promise of docs/guarantees.md cites a rule and names a test', () => {
  const rows = tablesOf(readText('docs/guarantees.md')).flatMap(({ names, rows }) => {
    expect(names).toEqual(expect.arrayContaining(['Rule', 'Tried in']))
    return rows
  })
  expect(rows.length).toBeGreaterThan(50)
  nothing(
    rows.flatMap((row) => {
      const promise = Object.values(row)[0]?.slice(0, 60)
      const { Rule: rule = '', 'Tried in': tried = '' } = row
      return [
        ...(citationsIn(rule).some((cited) => cited.rule) ? [] : [`"${promise}…": cite its rule`]),
        ...(testsIn(tried).length > 0 ? [] : [`"${promise}…": name the test that tries it`]),
      ]
    }),
  )
})

test('every page of docs is linked from the README or from another page', () => {
  const linked = new Set(
    [{ path: 'README.md', text: readText('README.md') }, ...pages].flatMap(({ path, text }) =>
      [...text.matchAll(/\]\(([^):#]+)/g)].map(([, file = '']) => join(dirname(path), file)),
    ),
  )
  nothing(
    pages
      .filter(({ path }) => !linked.has(path))
      .map(({ path }) => `link ${path}, or nobody finds it`),
  )
})
