/** What a caller sees is documented: rules for src/api that no linter has. */

import { test } from 'vitest'
import { nothing, sources } from './tree.js'

/** Fields that say all by their names. */
const selfEvident = new Set(['signal'])

const rooms = sources.filter(({ path }) => /^src\/api\/(?!api\.ts)/.test(path))

test('every exported name of the api has a comment', () => {
  nothing(
    rooms.flatMap((file) =>
      undocumented(file.text, /^export (?:type|interface|const|function) (\w+)/).map(
        ({ name, line }) => `${file.path}:${line}: say what ${name} is`,
      ),
    ),
  )
})

test('every call and every option of the api has a comment', () => {
  nothing(
    rooms.flatMap((file) =>
      blocksOf(file.text)
        .filter(({ kind, name }) => kind === 'interface' || name.endsWith('Options'))
        .flatMap(({ kind, name, text, line }) => {
          const member = kind === 'interface' ? /^ {2}(\w+)\(/ : /^ {2,4}readonly (\w+)\??:/
          return undocumented(text, member)
            .filter((found) => !selfEvident.has(found.name))
            .map(
              (found) => `${file.path}:${line + found.line - 1}: say what ${name}.${found.name} is`,
            )
        }),
    ),
  )
})

type Found = { readonly name: string; readonly line: number }

/** Lines that match, without a comment that ends on the line before. */
function undocumented(text: string, pattern: RegExp): Found[] {
  const lines = text.split('\n')
  return lines.flatMap((code, index) => {
    const name = pattern.exec(code)?.[1]
    if (name === undefined || lines[index - 1]?.trimEnd().endsWith('*/')) return []
    return [{ name, line: index + 1 }]
  })
}

type Block = {
  readonly kind: 'interface' | 'type'
  readonly name: string
  readonly text: string
  readonly line: number
}

/** Exported types and interfaces, each up to the next declaration. */
function blocksOf(text: string): Block[] {
  return [
    ...text.matchAll(
      /^export (interface|type) (\w+)[\s\S]*?(?=\n(?:\/\*\*|export )|$(?![\s\S]))/gm,
    ),
  ].map((found) => ({
    kind: found[1] as Block['kind'],
    name: found[2] ?? '',
    text: found[0],
    line: text.slice(0, found.index).split('\n').length,
  }))
}
