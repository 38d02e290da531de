/** The rfcs and rules that a text cites: `rfc/4`, `rfc/4, rule 2`, `rfc/4, rules 2 to 5 and 7`, `rules 1
 *  and 3 of rfc/4`, over line ends of comments too. See rfc/1, rule 4.
 *  Invariant: a list or a range gives each of its numbers. */

type Citation = { readonly number: string; readonly rule?: number }

const gap = String.raw`\s+(?:\*\s+)?`
const numbers = String.raw`\d+(?:(?:,|,?${gap}and|${gap}to)${gap}\d+)*`
const behind = new RegExp(`\\brfc/(\\d+)\\b(?:,?${gap}rules?${gap}(${numbers}))?`, 'g')
const before = new RegExp(`\\brules?${gap}(${numbers})${gap}of${gap}rfc/(\\d+)\\b`, 'g')
const bare = new RegExp(`\\brules?${gap}(${numbers})\\b`, 'g')

/** All citations of a text. own: the number of the page that the text is, whose rules it cites by
 *  `rule N` alone; `rule N there` means the page that was named last. */
export function citationsIn(text: string, own?: string): readonly Citation[] {
  const found: Citation[] = []
  const rest = text
    .replace(before, (_all, rules: string, number: string) => {
      found.push(...rulesOf(number, rules))
      return ''
    })
    .replace(behind, (_all, number: string, rules: string | undefined) => {
      found.push({ number }, ...rulesOf(number, rules ?? ''))
      return ''
    })
  if (own === undefined) return found
  for (const { 0: all, 1: rules = '', index } of rest.matchAll(bare)) {
    if (!/^\s+there\b/.test(rest.slice(index + all.length))) found.push(...rulesOf(own, rules))
  }
  return found
}

/** `2 to 4 and 7` are 2, 3, 4 and 7. */
function rulesOf(number: string, rules: string): readonly Citation[] {
  return [...rules.matchAll(/(\d+)(?:[\s*]+to[\s*]+(\d+))?/g)].flatMap(([, first, last]) => {
    const from = Number(first)
    const count = Number(last ?? first) - from + 1
    return Array.from({ length: count }, (_, index) => ({ number, rule: from + index }))
  })
}
