/** Encodes long answers in JSON item by item. A page of 10,000 entries, or the values of one read,
 *  would stop the event loop if they were encoded at once. See rfc/12, rules 4 and 33.
 *  Invariant: the text is that of `JSON.stringify`, with bytes in lists as `{base64}`. */

import { LoopSlice } from '../base/loop-slice.js'
import { toJson } from '../wire/bytes.js'

/** The largest number of items of a list that is encoded at once. A list with bytes never is. */
const itemsMax = 64
/** The number of characters that are gathered before they are encoded as bytes. */
const partSize = 64 * 1024

/** True if an answer may be long: a field of it is a list with many items, or with bytes. */
export function isLong(answer: unknown): answer is object {
  if (typeof answer !== 'object' || answer === null) return false
  return Object.values(answer).some((field) => Array.isArray(field) && isLongList(field))
}

function isLongList(list: readonly unknown[]): boolean {
  return list.length > itemsMax || list.some((item) => item instanceof Uint8Array)
}

/** Encodes an answer, and lets the event loop turn meanwhile. */
export async function encodeAnswer(answer: object): Promise<Buffer> {
  const slice = new LoopSlice()
  const parts: Buffer[] = []
  let text = ''
  for (const piece of piecesOf(answer)) {
    text += piece
    if (text.length >= partSize) {
      parts.push(Buffer.from(text))
      text = ''
    }
    if (slice.over) await slice.turn()
  }
  return Buffer.concat([...parts, Buffer.from(text)])
}

function* piecesOf(answer: object): Generator<string> {
  let before = '{'
  for (const [name, field] of Object.entries(answer)) {
    if (field === undefined) continue
    yield `${before}${JSON.stringify(name)}:`
    before = ','
    if (Array.isArray(field) && isLongList(field)) yield* piecesOfList(field)
    else yield JSON.stringify(field)
  }
  yield before === '{' ? '{}' : '}'
}

function* piecesOfList(list: readonly unknown[]): Generator<string> {
  let before = '['
  for (const item of list) {
    yield before + JSON.stringify(item instanceof Uint8Array ? toJson(item) : (item ?? null))
    before = ','
  }
  yield before === '[' ? '[]' : ']'
}
