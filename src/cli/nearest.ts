/** The known name that is nearest to one that is not known, for messages about typing errors. Pure. */

/** Returns the name that fewest edits (a letter more, less, other, or two changed in their places) make
 *  of `typed`; undefined if even that one takes more than a third of its letters. */
export function nearest(typed: string, names: readonly string[]): string | undefined {
  const [best] = names
    .map((name) => ({ name, edits: editsBetween(typed.toLowerCase(), name) }))
    .sort((a, b) => a.edits - b.edits)
  if (!best || best.edits > Math.max(1, Math.floor(best.name.length / 3))) return undefined
  return best.name
}

/** The longest name that is compared; a longer one is near to none. */
const lengthMax = 64

/** Counts the edits between two texts (the distance of optimal string alignment). */
function editsBetween(a: string, b: string): number {
  if (a.length > lengthMax) return Number.POSITIVE_INFINITY
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, at) => at)]
  const cell = (i: number, j: number) => rows[i]?.[j] ?? 0
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= b.length; j++) {
      const other = a[i - 1] === b[j - 1] ? 0 : 1
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      row[j] = Math.min(
        cell(i - 1, j) + 1,
        cell(i, j - 1) + 1,
        cell(i - 1, j - 1) + other,
        isSwapped ? cell(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY,
      )
    }
  }
  return cell(a.length, b.length)
}
