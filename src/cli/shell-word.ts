/** Words of a command line as a person types them for a shell, with quotes and backslashes, read
 *  and written. The rules are those of sh, which bash, zsh and fish share here. See
 *  rfc/13, rule 30.
 *  Invariant: a shell reads `typedLike(text, quote)` behind that opening quote as `text`. */

/** The quote that is open at the end of a word; empty where none is. */
export type OpenQuote = '' | '"' | "'"

/** Reads a word, which may be unfinished. Variables and commands in it are not expanded. */
export function readWord(typed: string): { readonly text: string; readonly quote: OpenQuote } {
  let text = ''
  let quote: OpenQuote = ''
  for (let at = 0; at < typed.length; at++) {
    const character = typed[at] ?? ''
    if (character === quote) quote = ''
    else if (quote === '' && (character === '"' || character === "'")) quote = character
    else if (character === '\\' && isEscape(quote, typed[at + 1])) text += typed[++at] ?? ''
    else text += character
  }
  return { text, quote }
}

/** True if a backslash before that character escapes it. */
function isEscape(quote: OpenQuote, next = ''): boolean {
  if (quote === '"') return /["\\$`]/.test(next)
  return quote === ''
}

/** Writes text so that a shell reads it back, behind an opening quote or outside of quotes. */
export function typedLike(text: string, quote: OpenQuote): string {
  switch (quote) {
    case '':
      return text.replace(/[^\w@%+=:,./\u{80}-\u{10ffff}-]/gu, '\\$&')
    case '"':
      return text.replace(/["\\$`]/g, '\\$&')
    case "'":
      return text.replaceAll("'", `'\\''`)
    default:
      return quote satisfies never
  }
}
