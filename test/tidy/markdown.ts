/** Pages in Markdown as tests read them: their tables, headings and blocks of code. */

/** A table: the names of its columns, and its rows by these names. */
export type Table = {
  readonly names: readonly string[]
  readonly rows: readonly Readonly<Record<string, string>>[]
}

/** Returns the tables of a page in their order. A `\|` is no end of a cell. */
export function tablesOf(text: string): readonly Table[] {
  const blocks = text.match(/(?:^\|.*\|\n)+/gm) ?? []
  return blocks.map((block) => {
    const [names = [], , ...rows] = block.trimEnd().split('\n').map(cellsOf)
    return {
      names,
      rows: rows.map((cells) =>
        Object.fromEntries(names.map((name, at) => [name, cells[at] ?? ''])),
      ),
    }
  })
}

function cellsOf(line: string): string[] {
  return line
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'))
}

/** Returns the anchors of a page's headings, as GitHub makes them. */
export function headingsOf(text: string): readonly string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
