/** Text that others wrote, as people may read it. See rfc/13, rule 21.
 *  Invariant: what leaves here has no character that a terminal acts on, that begins a row, or that turns the
 *  direction of reading. Letters of any script, and emoji, stay as they are. */

/** Controls, separators of lines and paragraphs, halves of surrogate pairs, and what formats unseen but for the
 *  joiners that scripts and emoji need. */
const unsafe = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]|(?![\u200c\u200d])\p{Cf}/gu

const named: ReadonlyMap<string, string> = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
])

/** A name: itself, or, where it has such characters, as `$'…'`, which the shells read back. */
export function quoted(name: string): string {
  // One that begins so already could be taken for another.
  if (!isUnsafe(name) && !name.startsWith("$'")) return name
  return `$'${escaped(name.replace(/['\\]/g, '\\$&'))}'`
}

/** A sentence: itself, each such character escaped. */
export function escaped(text: string): string {
  return text.replace(unsafe, (found) => named.get(found) ?? numbered(found.codePointAt(0) ?? 0))
}

/** One JSON value on one line. What JSON leaves as it is and a terminal would not is escaped; the value is the
 *  same. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(unsafe, (found) => {
    return found.replace(/./gs, (unit) => `\\u${hex(unit.charCodeAt(0), 4)}`)
  })
}

/** A word of a command line, quoted where a shell would want it. */
export function quotedWord(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word
  return isUnsafe(word) ? quoted(word) : JSON.stringify(word)
}

/** True if a terminal would act on the text, or a line of it would be another. */
export function isUnsafe(text: string): boolean {
  return text.search(unsafe) >= 0
}

function numbered(code: number): string {
  if (code < 0x80) return `\\x${hex(code, 2)}`
  return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0')
}
