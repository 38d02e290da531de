/** The figures of a run: rows of the table, their ratios and gates, and the table itself as
 *  Markdown. Pure. */

import type { FlowPeerId } from './flow-peers/flow-peer.js'
import { median } from './measure.js'
import type { SystemId } from './systems/system.js'

/** A column of the table. */
export type ColumnId = SystemId | FlowPeerId

/** Why a system has no figure in a row: it was not there, or it was and failed. */
export type Absent = { readonly absent: 'missing' | 'failed'; readonly why: string }

/** The values of one system in a row, one a run. `label` says what was measured where it is not
 *  what the column says, such as `cat` in the column of the plain file. */
export type Figure = { readonly system: ColumnId } & (
  | Absent
  | { readonly values: readonly number[]; readonly label?: string }
)

/** A bound of ours: relative to another system of the row, to what `label` names, or absolute.
 *  Whether it is the least or the most follows from the row. */
export type Gate =
  | { readonly ratio: number; readonly to: ColumnId }
  | { readonly ratio: number; readonly label: string; readonly values: readonly number[] }
  | { readonly bound: number }

/** One line of the table. */
export type Row = {
  readonly bench: string
  readonly work: string
  readonly unit: string
  readonly better: 'more' | 'less'
  readonly figures: readonly Figure[]
  readonly gates?: readonly Gate[]
}

/** A system as the table's foot describes it. */
export type Described = {
  readonly id: ColumnId
  readonly title: string
  readonly durability: string
  readonly version?: string
  readonly missing?: string
}

/** All of a run. */
export type Report = {
  readonly machine: string
  readonly date: string
  /** Load averages of a minute, before and after. */
  readonly load: readonly [number, number]
  readonly seconds: number
  readonly runs: number
  /** The work was divided by it: 1 for figures that count. */
  readonly scale: number
  readonly systems: readonly Described[]
  readonly rows: readonly Row[]
  /** Benchmarks that gave no rows, and why. */
  readonly failed: readonly { readonly bench: string; readonly why: string }[]
}

/** The median of the ratios of each run, where both have as many; else the ratio of the medians. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): number {
  if (ours.length !== theirs.length) return median(ours) / median(theirs)
  return median(ours.map((value, run) => value / (theirs[run] ?? Number.NaN)))
}

/** Names what was measured in the column of the plain file where it is not a plain file. */
export function inPlaceOfFile(figures: readonly Figure[], label: string): readonly Figure[] {
  return figures.map((figure) =>
    figure.system === 'file' && 'values' in figure ? { ...figure, label } : figure,
  )
}

/** Such as `1,240`, `12.3` or `0.41`. */
export function shownNumber(value: number): string {
  if (!Number.isFinite(value)) return '?'
  const size = Math.abs(value)
  if (size >= 100) return Math.round(value).toLocaleString('en')
  return value.toFixed(size >= 10 ? 1 : 2)
}

/** The median and, where there are several values, the least and the greatest. */
export function shownValues(values: readonly number[]): string {
  const middle = shownNumber(median(values))
  if (values.length < 2) return middle
  return `${middle} (${shownNumber(Math.min(...values))}–${shownNumber(Math.max(...values))})`
}

/** Ours against the best of the peers that are no plain file, as `1.20 × Redis`; empty where there is
 *  none. */
export function againstBest(row: Row, systems: readonly Described[]): string {
  const ours = valuesOf(row, 'tailrace')
  if (!ours) return ''
  let best: { readonly system: ColumnId; readonly values: readonly number[] } | undefined
  for (const figure of row.figures) {
    if ('absent' in figure || figure.system === 'tailrace' || figure.system === 'file') continue
    const ahead = best ? median(figure.values) / median(best.values) : undefined
    if (ahead === undefined || (row.better === 'more' ? ahead > 1 : ahead < 1)) best = figure
  }
  if (!best) return ''
  return `${ratioOf(ours, best.values).toFixed(2)} × ${titleOf(best.system, systems)}`
}

/** Says whether a gate is met, with the ratio: `met: 1.20 × Redis (≥ 1)`. */
export function shownGate(gate: Gate, row: Row, systems: readonly Described[]): string {
  const sign = row.better === 'more' ? '≥' : '≤'
  const ours = valuesOf(row, 'tailrace')
  if (!ours) return 'not measured'
  const judged = (value: number, bound: number) =>
    (row.better === 'more' ? value >= bound : value <= bound) ? 'met' : '**missed**'
  if ('bound' in gate) {
    return `${judged(median(ours), gate.bound)}: ${sign} ${shownNumber(gate.bound)} ${row.unit}`
  }
  const label = 'to' in gate ? labelOf(row, gate.to, systems) : gate.label
  const theirs = 'to' in gate ? valuesOf(row, gate.to) : gate.values
  if (!theirs || theirs.length === 0) return `unknown: ${sign} ${gate.ratio} × ${label}`
  const ratio = ratioOf(ours, theirs)
  return `${judged(ratio, gate.ratio)}: ${ratio.toFixed(2)} × ${label} (${sign} ${gate.ratio})`
}

/** The report as Markdown: the machine, one table, and what its columns are. */
export function markdownOf(report: Report): string {
  const { systems } = report
  const used = systems.filter(
    ({ id }) =>
      id === 'tailrace' ||
      report.rows.some(({ figures }) => figures.some(({ system }) => system === id)),
  )
  const heads = ['work', ...used.map(({ title }) => title), 'to the best peer', 'gate']
  const [before, after] = report.load.map(shownNumber)
  const scale = report.scale === 1 ? '' : `, work divided by ${report.scale}: not figures to quote`
  return [
    `${report.machine}. ${report.date}, ${Math.round(report.seconds)} s, load ${before} before and ${after} after. ` +
      `Medians of ${report.runs} runs (lowest–highest)${scale}.`,
    '',
    line(heads),
    line(heads.map((_, at) => (at === 0 ? '---' : '---:'))),
    ...report.rows.map((row) => rowLine(row, used)),
    ...report.failed.map(({ bench, why }) => line([`**${bench}**: failed`, cell(why)])),
    '',
    ...used.map(
      ({ title, durability, version, missing }) =>
        `* ${title}${version ? ` ${version}` : ''}: ${durability}.${missing ? ` **Missing**: ${missing}.` : ''}`,
    ),
    ...failures(report.rows, systems),
    '',
  ].join('\n')
}

/** Replaces what stands between the two markers of a page. Throws where one of them is not there. */
export function withSection(page: string, section: string): string {
  const start = page.indexOf(sectionStart)
  const end = page.indexOf(sectionEnd)
  if (start < 0 || end < start) throw new Error(`a page needs ${sectionStart} and ${sectionEnd}`)
  const head = page.slice(0, start + sectionStart.length)
  return `${head}\n\n${section.trim()}\n\n${page.slice(end)}`
}

export const sectionStart = '<!-- newest figures: npm run bench -- --record writes them -->'
export const sectionEnd = '<!-- end of the newest figures -->'

function rowLine(row: Row, systems: readonly Described[]): string {
  const cells = systems.map(({ id }) => {
    const figure = row.figures.find(({ system }) => system === id)
    if (!figure) return '–'
    if ('absent' in figure) return figure.absent
    return figure.label
      ? `${shownValues(figure.values)} ${figure.label}`
      : shownValues(figure.values)
  })
  const gates = (row.gates ?? []).map((gate) => shownGate(gate, row, systems)).join('; ')
  const name = `**${row.bench}**: ${row.work}, ${row.unit}`
  return line([name, ...cells, againstBest(row, systems), gates].map(cell))
}

/** Each reason once: why a system that is there has no figure. */
function failures(rows: readonly Row[], systems: readonly Described[]): readonly string[] {
  const reasons = rows.flatMap(({ bench, figures }) =>
    figures.flatMap((figure) => {
      if (!('absent' in figure) || figure.absent !== 'failed') return []
      return [`* ${titleOf(figure.system, systems)} failed in ${bench}: ${cell(figure.why)}.`]
    }),
  )
  return [...new Set(reasons)]
}

function valuesOf(row: Row, system: ColumnId): readonly number[] | undefined {
  const figure = row.figures.find((each) => each.system === system)
  return figure && 'values' in figure ? figure.values : undefined
}

/** What a system's figure in a row is of: its label, else the system. */
function labelOf(row: Row, id: ColumnId, systems: readonly Described[]): string {
  const figure = row.figures.find(({ system }) => system === id)
  return (figure && 'values' in figure && figure.label) || titleOf(id, systems)
}

function titleOf(id: ColumnId, systems: readonly Described[]): string {
  return systems.find((system) => system.id === id)?.title ?? id
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ')
}
