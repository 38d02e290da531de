/** Escapes for text that others wrote, so that people can read it safely. See rfc/13, rule 21.
 *  Invariant: the results have no character that a terminal acts on, that begins a row, or that
 *  changes the direction of reading. Letters of any script, and emoji, stay as they are. */

/** Matches controls, separators of lines and paragraphs, halves of surrogate pairs, and invisible
 *  formatting characters, except for the joiners that scripts and emoji need. */
const unsafe = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]|(?![\u200c\u200d])\p{Cf}/gu

const named: ReadonlyMap<string, string> = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
])

/** Writes a name: as it is, or, where it has unsafe characters, as `$'…'`, which shells read
 *  back. */
export function quoted(name: string): string {
  // A name that begins with `$'` could be taken for a quoted one.
  if (!isUnsafe(name) && !name.startsWith("$'")) return name
  return `$'${escaped(name.replace(/['\\]/g, '\\$&'))}'`
}

/** Writes a sentence with each unsafe character escaped. */
export function escaped(text: string): string {
  return text.replace(unsafe, (found) => named.get(found) ?? numbered(found.codePointAt(0) ?? 0))
}

/** Writes one JSON value on one line. Characters that JSON leaves as they are, and a terminal acts
 *  on, are escaped; the value is the same. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(unsafe, (found) => {
    return found.replace(/./gs, (unit) => `\\u${hex(unit.charCodeAt(0), 4)}`)
  })
}

/** Writes a word of a command line, quoted where a shell needs it. */
export function quotedWord(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word
  return isUnsafe(word) ? quoted(word) : JSON.stringify(word)
}

/** True if the text has a character that a terminal acts on, or that ends a line. */
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
