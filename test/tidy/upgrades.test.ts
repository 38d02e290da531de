/** `docs/upgrades.md` has the versions of the formats that the source has, and the version of the package. */

import { expect, test } from 'vitest'
import { constantOf } from './bounds.js'
import { tablesOf } from './markdown.js'
import { nothing, readText } from './tree.js'

const page = readText('docs/upgrades.md')
const formats = tablesOf(page).find(({ names }) => names[0] === 'Format')?.rows ?? []

test('every format has the version that its file has', () => {
  const named = formats.filter(({ In: where }) => where !== '')
  expect(named.length).toBeGreaterThan(8)
  nothing(
    named.flatMap(({ Format: format, Version: said = '', In: where = '' }) => {
      const [, path = '', name = ''] = /^`(.+)` `(.+)`$/.exec(where) ?? []
      const version = said.replaceAll('`', '').split(',')[0] ?? ''
      const value = /^\d+$/.test(version) ? constantOf(path, name) : undefined
      const isSo =
        value === undefined
          ? new RegExp(`\\b${name}\\b.*(?<!\\w)${version}(?!\\w)`).test(readText(path))
          : value === Number(version)
      return isSo ? [] : [`${format}: ${path} has another ${name} than ${said}`]
    }),
  )
})

test('the version of the package is that of the page, and has a place in CHANGELOG.md', () => {
  const { version }: { readonly version: string } = JSON.parse(readText('package.json'))
  expect(page).toContain(`This version is ${version}.`)
  expect(readText('CHANGELOG.md')).toMatch(new RegExp(`^## \\[${version}\\]`, 'm'))
})
