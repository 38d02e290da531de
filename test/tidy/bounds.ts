/** The values of constants of `src`, read from the text: most are of a file only, and a page may name them all the
 *  same. Their values are numbers, names of other constants, and `+ - * / **` without parentheses. */

import { type File, sources, targetOf } from './tree.js'

/** Returns the value of a constant of a file, or of a field of one (`settingsDefault.historyCount`); undefined if
 *  there is none of that name. Throws an Error if its value is no number. */
export function constantOf(path: string, name: string): number | undefined {
  const file = sources.find((each) => each.path === path)
  return file && valueIn(file, name)
}

/** Returns the names of the bounds that a file exports. */
export function boundsOf({ text }: File): string[] {
  const bounds = /^export const (\w+(?:Max|Min|Default|Ms))\b(?:: \w+)? = (?!\{)/gm
  return [...text.matchAll(bounds)].map(([, name = '']) => name)
}

function valueIn(file: File, name: string): number | undefined {
  const [constant = '', field] = name.split('.')
  const written = field
    ? new RegExp(`^export const ${constant}\\b[^{]*\\{[^}]*?^ +${field}: (.+),$`, 'm')
    : new RegExp(`^(?:export )?const ${constant}(?:: \\w+)? = (.+)$`, 'm')
  const found = written.exec(file.text)?.[1]
  if (found !== undefined) return sum(file, found)
  for (const item of file.imports) {
    const target = targetOf(file, item)
    const value = target && field === undefined ? ownOf(target, constant) : undefined
    if (value !== undefined) return value
  }
  return undefined
}

/** Returns a constant of the file itself, not of those that it imports. */
function ownOf(file: File, name: string): number | undefined {
  return new RegExp(`^export const ${name}\\b`, 'm').test(file.text)
    ? valueIn(file, name)
    : undefined
}

function sum(file: File, text: string): number {
  const [first = '', ...rest] = text.split(/ ([+-]) /)
  let value = product(file, first)
  for (let at = 0; at < rest.length; at += 2) {
    const term = product(file, rest[at + 1] ?? '')
    value += rest[at] === '-' ? -term : term
  }
  return value
}

function product(file: File, text: string): number {
  const [first = '', ...rest] = text.split(/ (\*|\/) /)
  let value = power(file, first)
  for (let at = 0; at < rest.length; at += 2) {
    const factor = power(file, rest[at + 1] ?? '')
    value = rest[at] === '/' ? value / factor : value * factor
  }
  return value
}

function power(file: File, text: string): number {
  const [base = '', exponent] = text.split(' ** ')
  return exponent === undefined ? atom(file, base) : atom(file, base) ** atom(file, exponent)
}

function atom(file: File, text: string): number {
  const value = /^[\d_.]+$/.test(text) ? Number(text.replaceAll('_', '')) : valueIn(file, text)
  if (value === undefined) throw new Error(`${file.path}: "${text}" is no number`)
  return value
}
