/** A strict parser for JSON from outside: it refuses what JSON.parse would change without an error.
 *  See rfc/12, rule 5. Runs in browsers.
 *  Invariant: a parsed value says what its text says. No number was rounded, no object had a name
 *  twice, no string has half a surrogate pair, and no text was nested deeper than `jsonDepthMax`.
 *  The time is linear in the length of the text. */

import { reasonOf, TailraceError } from '../error.js'

/** The largest number of arrays and objects inside each other. */
export const jsonDepthMax = 64
/** The largest number of values in a document, at all levels. */
export const jsonValuesMax = 262_144
/** The largest number of names in all objects of a document together. */
export const jsonNamesMax = 65_536

/** A number of at most this many characters and without an exponent is exact:
 *  a double keeps 15 digits. */
const exactLength = 15
/** Characters of a refused number that an error shows. */
const shownMax = 40
/** Characters of a string that are read one by one before a search begins. Most strings are
 *  shorter, and a search costs more. */
const stringNear = 32

const lineBreak = 0x0a
const quote = 0x22
const comma = 0x2c
const minus = 0x2d
const colon = 0x3a
const openArray = 0x5b
const backslash = 0x5c
const letterU = 0x75
const closeArray = 0x5d
const openObject = 0x7b
const closeObject = 0x7d

/** Returns the value of a JSON text (bytes: in UTF-8). `what` names the text in errors. Throws
 *  EINVAL with the line and the column, and with a SyntaxError as cause where the text is not JSON
 *  at all; E2BIG above `jsonValuesMax` or `jsonNamesMax`. */
export function parseJson(input: string | Uint8Array, what: string): unknown {
  const text = typeof input === 'string' ? input : decodeUtf8(input, what)
  const { names, unicode } = scan(text, what)
  const value = parsed(text, what)
  if (names > 0 && countNames(value) !== names) findDuplicate(text, what)
  if (!text.isWellFormed() || (unicode && !isWellFormed(value))) {
    throw halfPair(what)
  }
  return value
}

function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw notUtf8(what, cause)
  }
}

/** Parses a text that `scan` accepted. REQUIRES: `scan` came first, so that the text is not too
 *  deep for JSON.parse. */
function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const why = reasonOf(cause)
    const [, reason = why, at] = /^(.*?)(?: in JSON)?(?: at position (\d+).*)?$/s.exec(why) ?? []
    const where = at === undefined ? '' : ` at ${placeOf(text, Number(at))}`
    throw new TailraceError('EINVAL', `${what} is not JSON: ${reason}${where}`, { cause })
  }
}

type Scanned = {
  /** The number of names in all objects together. */
  readonly names: number
  /** True if the text has a `\u` escape, which can write half a surrogate pair. */
  readonly unicode: boolean
}

/** The positions of the next backslash and the next quote, kept until they are passed, so that no
 *  part of the text is searched twice. `unicode`: a `\u` escape was seen. */
export type Ahead = { backslash: number; quote: number; unicode: boolean }

/** Reads the structure of a text once, and checks depth, counts and numbers. JSON.parse checks
 *  later what is inside strings. Throws EINVAL, E2BIG. */
function scan(text: string, what: string): Scanned {
  const ahead: Ahead = { backslash: -1, quote: -1, unicode: false }
  /** Says for each level: 1 is an object, 0 is an array. */
  const isObject = new Uint8Array(jsonDepthMax + 1)
  let depth = 0
  let names = 0
  let values = 0
  let at = 0
  for (;;) {
    // A value, or the end of an array that is empty.
    if (++values > jsonValuesMax || names > jsonNamesMax) throw tooMany(what)
    let code = text.charCodeAt(at)
    while (isSpace(code)) code = text.charCodeAt(++at)
    if (code === quote) at = endOfString(text, at, what, ahead)
    else if (isDigit(code) || code === minus) at = endOfNumber(text, at, what)
    else if (code === openObject || code === openArray) {
      if (depth === jsonDepthMax) {
        throw refused(text, at, what, `is nested more than ${jsonDepthMax} levels deep`)
      }
      isObject[++depth] = code === openObject ? 1 : 0
      at++
      while (isSpace(text.charCodeAt(at))) at++
      if (code === openArray) {
        if (text.charCodeAt(at) !== closeArray) continue
      } else if (text.charCodeAt(at) !== closeObject) {
        names++
        at = endOfName(text, at, what, ahead)
        continue
      }
    } else at = endOfLiteral(text, at, what)
    // After a value, or at the end of an empty object or array.
    for (;;) {
      code = text.charCodeAt(at)
      while (isSpace(code)) code = text.charCodeAt(++at)
      if (depth === 0) {
        if (at >= text.length) return { names, unicode: ahead.unicode }
        throw unexpected(text, at, what, 'the end')
      }
      const inObject = isObject[depth] === 1
      if (code === comma) {
        at++
        if (inObject) {
          names++
          at = endOfName(text, at, what, ahead)
        }
        break
      }
      if (code !== (inObject ? closeObject : closeArray)) {
        throw unexpected(text, at, what, inObject ? 'a comma or }' : 'a comma or ]')
      }
      at++
      depth--
    }
  }
}

/** Returns the position after the colon that follows a name. Throws EINVAL. */
function endOfName(text: string, from: number, what: string, ahead: Ahead): number {
  let at = from
  while (isSpace(text.charCodeAt(at))) at++
  if (text.charCodeAt(at) !== quote) throw unexpected(text, at, what, 'a name in quotes')
  at = endOfString(text, at, what, ahead)
  while (isSpace(text.charCodeAt(at))) at++
  if (text.charCodeAt(at) !== colon) throw unexpected(text, at, what, 'a colon')
  return at + 1
}

/** Returns the position after the string that begins at `from`. Throws EINVAL. */
export function endOfString(text: string, from: number, what: string, ahead: Ahead): number {
  for (let at = from + 1, near = at + stringNear; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) return at + 1
    if (code === backslash) {
      if (text.charCodeAt(++at) === letterU) ahead.unicode = true
      near = at + stringNear
    } else if (at > near) {
      // The string is long: go on at the next quote or backslash, whichever is first.
      if (ahead.backslash < at) ahead.backslash = indexOr(text, '\\', at)
      if (ahead.quote < at) ahead.quote = indexOr(text, '"', at)
      at = Math.min(ahead.backslash, ahead.quote) - 1
      near = at + stringNear
    }
  }
  throw unexpected(text, text.length, what, 'a quote at the end of the text')
}

/** Returns the position of `found`; the length of the text where it is not found. */
function indexOr(text: string, found: string, from: number): number {
  const at = text.indexOf(found, from)
  return at < 0 ? text.length : at
}

/** Returns the position after the number that begins at `from`. Throws EINVAL where
 *  a double cannot keep it. */
export function endOfNumber(text: string, from: number, what: string): number {
  let at = from + 1
  let hasPower = false
  for (let code = text.charCodeAt(at); isNumeric(code); code = text.charCodeAt(++at)) {
    if (isPower(code)) hasPower = true
  }
  if (at - from <= exactLength && !hasPower) return at
  const number = text.slice(from, at)
  if (isExact(number)) return at
  const shown = number.length > shownMax ? `${number.slice(0, shownMax)}…` : number
  const why = `has the number ${shown}, which a double cannot keep: send it as text`
  throw refused(text, from, what, why)
}

/** Returns the position after the `true`, `false` or `null` that begins at `from`. It looks at the
 *  first letter and the last only, since JSON.parse checks the rest. Throws EINVAL. */
export function endOfLiteral(text: string, from: number, what: string): number {
  const first = text.charCodeAt(from)
  const size = first === 0x66 ? 5 : 4
  const last = text.charCodeAt(from + size - 1)
  const isWord =
    first === 0x6e ? last === 0x6c : (first === 0x74 || first === 0x66) && last === 0x65
  if (!isWord) throw unexpected(text, from, what, 'a value')
  return from + size
}

/** Throws EINVAL for the first name that its object has twice. REQUIRES: the text is JSON. */
function findDuplicate(text: string, what: string): void {
  /** Holds for each level the names of its object so far; undefined for an array. */
  const levels: (Set<unknown> | undefined)[] = []
  const ahead: Ahead = { backslash: -1, quote: -1, unicode: false }
  for (let at = 0; at < text.length; ) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      const end = endOfString(text, at, what, ahead)
      let behind = end
      while (isSpace(text.charCodeAt(behind))) behind++
      if (text.charCodeAt(behind) === colon) {
        const name: unknown = JSON.parse(text.slice(at, end))
        const names = levels.at(-1)
        if (names?.has(name)) {
          throw refused(text, at, what, `has the name ${JSON.stringify(name)} twice in one object`)
        }
        names?.add(name)
      }
      at = behind
      continue
    }
    if (code === openObject) levels.push(new Set())
    else if (code === openArray) levels.push(undefined)
    else if (code === closeObject || code === closeArray) levels.pop()
    at++
  }
}

/** Returns the EINVAL, with a SyntaxError as cause, for a text that is not JSON: `wanted` was
 *  expected at `at`. */
export function unexpected(text: string, at: number, what: string, wanted: string): TailraceError {
  const end = at < text.length ? '' : ', where the text ends'
  const message = `${wanted} was expected at ${placeOf(text, at)}${end}`
  const cause = new SyntaxError(message)
  return new TailraceError('EINVAL', `${what} is not JSON: ${message}`, { cause })
}

/** Returns the EINVAL for a text that is JSON but is refused at `at`. */
export function refused(text: string, at: number, what: string, why: string): TailraceError {
  return new TailraceError('EINVAL', `${what} ${why}, at ${placeOf(text, at)}`)
}

/** True for a character that JSON allows between values. */
export function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
}

/** True for `0` to `9`. */
export function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

/** Returns the EINVAL for bytes that are not UTF-8. */
export function notUtf8(what: string, cause: unknown): TailraceError {
  return new TailraceError('EINVAL', `${what} is not UTF-8, as JSON is`, { cause })
}

/** Returns the EINVAL for a string that has half a surrogate pair. */
export function halfPair(what: string): TailraceError {
  return new TailraceError('EINVAL', `${what} has text with half a surrogate pair: use bytes`)
}

/** Returns E2BIG, for a document with too many values or names. */
export function tooMany(what: string): TailraceError {
  const most = `${jsonValuesMax} values and ${jsonNamesMax} names`
  return new TailraceError('E2BIG', `${what} has more than ${most}: send it in parts`)
}

/** True if a number may have this character. JSON.parse decides if the whole is a number. */
function isNumeric(code: number): boolean {
  return isDigit(code) || code === 0x2e || code === minus || code === 0x2b || isPower(code)
}

/** True for `e` and `E`. */
function isPower(code: number): boolean {
  return (code | 0x20) === 0x65
}

/** True if the double nearest to a number prints as that number, and true for what is no number,
 *  which JSON.parse refuses later. */
function isExact(number: string): boolean {
  const kept = String(Number(number))
  if (kept === number || kept === 'NaN') return true
  return kept !== 'Infinity' && kept !== '-Infinity' && normalOf(kept) === normalOf(number)
}

/** Returns the normal form of a decimal number: its digits without zeros at
 *  the ends, and its exponent. */
function normalOf(number: string): string {
  const [, sign, whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(number) ?? []
  const all = whole + fraction
  let from = 0
  while (all[from] === '0') from++
  let to = all.length
  while (to > from && all[to - 1] === '0') to--
  if (from === to) return '0'
  return `${sign}${all.slice(from, to)}e${Number(power) + whole.length - from}`
}

function countNames(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let count = 0
  if (Array.isArray(value)) {
    for (const item of value) count += countNames(item)
    return count
  }
  const items = Object.values(value)
  count = items.length
  for (const item of items) if (typeof item === 'object') count += countNames(item)
  return count
}

function isWellFormed(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed()
  if (typeof value !== 'object' || value === null) return true
  if (Array.isArray(value)) return value.every(isWellFormed)
  return Object.entries(value).every(([name, item]) => name.isWellFormed() && isWellFormed(item))
}

function placeOf(text: string, at: number): string {
  let line = 1
  let from = 0
  // One by one, not by a search: a text may consist of line breaks only.
  for (let each = 0; each < at; each++) {
    if (text.charCodeAt(each) !== lineBreak) continue
    line++
    from = each + 1
  }
  return `line ${line}, column ${at - from + 1}`
}
