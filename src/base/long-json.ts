/** A parser for JSON of many megabytes that works in slices, so that the event loop turns
 *  meanwhile. See rfc/12, rules 5 and 33. Runs in browsers.
 *  Invariant: it returns what `parseJson` returns, and refuses what `parseJson`
 *  refuses, with the same code. */

import { TailraceError } from '../error.js'
import {
  type Ahead,
  endOfLiteral,
  endOfNumber,
  endOfString,
  halfPair,
  isDigit,
  isSpace,
  jsonDepthMax,
  jsonNamesMax,
  jsonValuesMax,
  notUtf8,
  parseJson,
  refused,
  tooMany,
  unexpected,
} from './json.js'
import { LoopSlice } from './loop-slice.js'

/** The largest text, in bytes or characters, that is parsed at once by
 *  `parseJson`, which is faster. */
export const shortJsonMax = 32 * 1024
/** Bytes that are decoded in one step, and blanks that are skipped in one step. */
const stepSize = 64 * 1024
const asciiMax = 0x7f
/** A character that does not stand for itself in a string of JSON: a backslash, or a control
 *  character, which may not stand there. */
const special = /[^ -[\]-\uffff]/

/** Returns what `parseJson` returns, and throws what it throws, but lets the
 *  event loop turn meanwhile. `isGone` says that nobody waits for the value any more: it then throws
 *  ECANCELED, so that the text does not stay in memory. */
export async function parseLongJson(
  input: string | Uint8Array,
  what: string,
  isGone: () => boolean = () => false,
): Promise<unknown> {
  if (input.length <= shortJsonMax) return parseJson(input, what)
  const slice = new EndingSlice(isGone)
  // No await here: this call would hold the bytes while their text is parsed.
  return textOf(input, what, slice).then((text) => parseText(text, what, slice))
}

async function textOf(input: string | Uint8Array, what: string, slice: LoopSlice): Promise<string> {
  // Begins each text in a turn of its own, since many long ones may come at once.
  await slice.turn()
  return typeof input === 'string' ? input : decodeLong(input, what, slice)
}

async function parseText(text: string, what: string, slice: LoopSlice): Promise<unknown> {
  const parser = new Parser(text, what)
  while (!parser.step()) if (slice.over) await slice.turn()
  return parser.value
}

/** Returns the text of bytes in UTF-8; the event loop turns meanwhile. `what` names the text in
 *  errors. Throws EINVAL. */
export async function decodeLong(
  bytes: Uint8Array,
  what: string,
  slice: LoopSlice,
): Promise<string> {
  // A text that is put together from pieces is in memory twice once it is read. In one step, text in
  // UTF-8 would take too long; ASCII does not.
  if (typeof Buffer === 'function' && (await isAscii(bytes, slice))) {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  }
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  try {
    for (let at = 0; at < bytes.length; at += stepSize) {
      const stream = at + stepSize < bytes.length
      text += decoder.decode(bytes.subarray(at, at + stepSize), { stream })
      if (slice.over) await slice.turn()
    }
  } catch (cause) {
    throw notUtf8(what, cause)
  }
  return text
}

async function isAscii(bytes: Uint8Array, slice: LoopSlice): Promise<boolean> {
  for (let at = 0; at < bytes.length; at += stepSize) {
    let all = 0
    // Four times as fast as an iteration.
    const end = Math.min(at + stepSize, bytes.length)
    for (let next = at; next < end; next++) all |= bytes[next] ?? 0
    if (all > asciiMax) return false
    if (slice.over) await slice.turn()
  }
  return true
}

/** A slice of work that may no longer be wanted. */
class EndingSlice extends LoopSlice {
  readonly #isGone: () => boolean

  constructor(isGone: () => boolean) {
    super()
    this.#isGone = isGone
  }

  override async turn(): Promise<void> {
    await super.turn()
    if (this.#isGone()) throw new TailraceError('ECANCELED', 'the client went: nothing was done')
  }
}

/** An array or an object whose end was not read yet. */
type Open = {
  readonly value: unknown[] | Record<string, unknown>
  /** The name of the next value, in an object. */
  name: string
}

/** A parser of one text. Mutable; owned by the loop that made it. */
class Parser {
  /** The value of the text, once `step` returned true. */
  value: unknown
  readonly #text: string
  readonly #what: string
  readonly #ahead: Ahead = { backslash: -1, quote: -1, unicode: false }
  readonly #open: Open[] = []
  #at = 0
  #values = 0
  #names = 0
  /** True if a value comes next; false if a comma or an end does. */
  #wants = true

  constructor(text: string, what: string) {
    this.#text = text
    this.#what = what
  }

  /** Reads one value, one end, or at most `stepSize` blanks. Returns true at the end of the text.
   *  Throws EINVAL, E2BIG. */
  step(): boolean {
    const blanks = this.#at + stepSize
    while (isSpace(this.#text.charCodeAt(this.#at))) if (++this.#at >= blanks) return false
    if (this.#wants) this.#takeValue()
    else if (this.#open.length === 0) {
      if (this.#at < this.#text.length) throw this.#unexpected('the end')
      return true
    } else this.#takeEnd()
    return false
  }

  #takeValue(): void {
    if (++this.#values > jsonValuesMax) throw tooMany(this.#what)
    const [text, from] = [this.#text, this.#at]
    const first = text[from] ?? ''
    const code = text.charCodeAt(from)
    if (first === '{' || first === '[') {
      if (this.#open.length === jsonDepthMax) {
        throw refused(text, from, this.#what, `is nested more than ${jsonDepthMax} levels deep`)
      }
      this.#at++
      this.#skipBlanks()
      const value = first === '[' ? [] : {}
      this.#put(value)
      this.#open.push({ value, name: '' })
      const isEmpty = text[this.#at] === (first === '[' ? ']' : '}')
      this.#wants = !isEmpty
      if (!isEmpty && first === '{') this.#takeName()
      return
    }
    if (first === '"') this.#at = endOfString(text, from, this.#what, this.#ahead)
    else if (isDigit(code) || first === '-') this.#at = endOfNumber(text, from, this.#what)
    else this.#at = endOfLiteral(text, from, this.#what)
    this.#put(this.#scalar(from))
    this.#wants = false
  }

  #takeEnd(): void {
    const open = this.#open.at(-1)
    const isList = Array.isArray(open?.value)
    const found = this.#text[this.#at]
    if (found === ',') {
      this.#at++
      if (!isList) this.#takeName()
      this.#wants = true
    } else if (found === (isList ? ']' : '}')) {
      this.#at++
      this.#open.pop()
    } else throw this.#unexpected(isList ? 'a comma or ]' : 'a comma or }')
  }

  #takeName(): void {
    if (++this.#names > jsonNamesMax) throw tooMany(this.#what)
    this.#skipBlanks()
    const from = this.#at
    if (this.#text[from] !== '"') throw this.#unexpected('a name in quotes')
    this.#at = endOfString(this.#text, from, this.#what, this.#ahead)
    const name = this.#scalar(from)
    this.#skipBlanks()
    if (this.#text[this.#at] !== ':') throw this.#unexpected('a colon')
    this.#at++
    const open = this.#open.at(-1)
    if (!open || typeof name !== 'string') return
    if (Object.hasOwn(open.value, name)) {
      const why = `has the name ${JSON.stringify(name)} twice in one object`
      throw refused(this.#text, from, this.#what, why)
    }
    open.name = name
  }

  /** Returns the string, number or literal that stands between `from` and here. It is a copy, so
   *  that it does not keep the whole text in memory; unless it is most of the text, which would be there
   *  twice. */
  #scalar(from: number): unknown {
    const piece = this.#text.slice(from, this.#at)
    const isMost = piece.length > shortJsonMax && piece.length > this.#text.length / 2
    let value: unknown
    try {
      const isText = isMost && piece.startsWith('"') && !special.test(piece)
      value = isText ? piece.slice(1, -1) : JSON.parse(piece)
    } catch {
      throw this.#unexpected(`something else than ${piece.slice(0, 40)}`, from)
    }
    if (typeof value === 'string' && !value.isWellFormed()) throw halfPair(this.#what)
    return value
  }

  #put(value: unknown): void {
    const open = this.#open.at(-1)
    if (!open) this.value = value
    else if (Array.isArray(open.value)) open.value.push(value)
    else if (open.name !== '__proto__') open.value[open.name] = value
    else {
      const own = { value, writable: true, enumerable: true, configurable: true }
      Object.defineProperty(open.value, open.name, own)
    }
  }

  /** Skips all blanks in one step. REQUIRES: they are few. */
  #skipBlanks(): void {
    while (isSpace(this.#text.charCodeAt(this.#at))) this.#at++
  }

  #unexpected(wanted: string, at = this.#at): TailraceError {
    return unexpected(this.#text, at, this.#what, wanted)
  }
}
