/** TypeScript as far as the tidy rules must understand it: comments, strings and imports. No parser:
 *  the sources are formatted by biome, and a rule that needs types is biome's or tsc's. */

/** One import or re-export. `typeOnly` ones leave nothing at runtime. */
export type Import = {
  readonly from: string
  readonly typeOnly: boolean
  readonly kind: 'import' | 'export'
}

/** The source with every comment, string, template text and regular expression blanked, its length and
 *  lines kept, so that what is left is code. */
export function codeOf(source: string): string {
  return blank(source, false)
}

/** As `codeOf`, with the strings kept: what imports are read from. */
export function withoutComments(source: string): string {
  return blank(source, true)
}

const importPattern =
  /^(?:(import|export)\s+(type\s+)?[^'"`;]*?\bfrom\s+|import\s+)'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm

export function importsOf(source: string): Import[] {
  return [...withoutComments(source).matchAll(importPattern)].map(([, kind, type, from, lazy]) => ({
    from: from ?? lazy ?? '',
    typeOnly: type !== undefined,
    kind: kind === 'export' ? 'export' : 'import',
  }))
}

/** A doc comment: the line where it starts, from 1, and its words, without asterisks and line breaks. */
export type DocComment = { readonly line: number; readonly text: string }

export function docCommentsOf(source: string): DocComment[] {
  return [...source.matchAll(skipped)]
    .filter(([comment]) => /^\/\*\*(?!\/)/.test(comment))
    .map(({ 0: comment, index }) => ({
      line: source.slice(0, index).split('\n').length,
      text: comment
        .slice('/**'.length, -'*/'.length)
        .replace(/\s*\n\s*\*?\s*/g, ' ')
        .trim(),
    }))
}

/** The text of every loop's body, by its braces. `code` is what `codeOf` gave. */
export function loopsOf(code: string): string[] {
  return [...code.matchAll(/\b(?:while|for|do)\b[^{;]*(?:;[^{;]*)*\{/g)].map((match) => {
    const start = match.index + match[0].length
    let depth = 1
    let at = start
    for (; at < code.length && depth > 0; at++) {
      if (code[at] === '{') depth++
      else if (code[at] === '}') depth--
    }
    return code.slice(start, at)
  })
}

const skipped =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|(?<=(?:^|[=(,:;!&|?{}[]|\breturn|=>)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[dgimsuvy]*/g

function blank(source: string, keepStrings: boolean): string {
  return source.replace(skipped, (text) => {
    if (keepStrings && /^['"]/.test(text)) return text
    // The code inside a template is code: only its text goes.
    if (text.startsWith('`')) return blankTemplate(text)
    return spaces(text)
  })
}

function blankTemplate(text: string): string {
  return text
    .split(/(\$\{[^}]*\})/)
    .map((part, index) => (index % 2 === 1 ? ` (${part.slice(2, -1)})` : spaces(part)))
    .join('')
}

/** Blanks a quote too, but leaves one where a string was a value: `''.x` must not become `.x`. */
function spaces(text: string): string {
  return text.replace(/[^\n]/g, ' ')
}
