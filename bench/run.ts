/** `npm run bench`: runs benchmarks one after the other, and writes what they gave. See
 *  bench/README.md. */

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Asked, parseArguments, usage } from './arguments.js'
import { benches } from './benches.js'
import {
  type ColumnId,
  type Described,
  markdownOf,
  type Report,
  type Row,
  shownNumber,
  shownValues,
  withSection,
} from './figures.js'
import { flowPeers } from './flow-peers/flow-peers.js'
import { load, machine } from './measure.js'
import type { Compared } from './systems/system.js'
import { systems } from './systems/systems.js'

type Wanted = Extract<Asked, { readonly type: 'run' }>

const here = new URL('.', import.meta.url)
/** The directory of the table and the values unless another is named; git ignores it. */
const outputDefault = fileURLToPath(new URL('../.bench/', here))

// Servers and directories end with this process.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

const columns: readonly Compared<ColumnId>[] = [...systems, ...flowPeers]
const peers = columns.map(({ id }) => id).filter((id) => id !== 'tailrace')
const asked = parseArguments(process.argv.slice(2), {
  benches: Object.keys(benches),
  all: Object.keys(benches).filter((name) => !benches[name]?.byNameOnly),
  peers,
})
switch (asked.type) {
  case 'help':
    console.log(usage)
    break
  case 'list':
    for (const [name, { question, byNameOnly }] of Object.entries(benches)) {
      console.log(`${name.padEnd(16)} ${question}${byNameOnly ? ' (by name only)' : ''}`)
    }
    break
  case 'wrong':
    console.error(asked.message)
    process.exitCode = 2
    break
  case 'run':
    await run(asked)
    break
  default:
    asked satisfies never
}

async function run(wanted: Wanted): Promise<void> {
  const { names, runs, scale } = wanted
  const isWanted = ({ id }: Compared<ColumnId>) => id === 'tailrace' || wanted.peers.includes(id)
  const compared = { systems: systems.filter(isWanted), flowPeers: flowPeers.filter(isWanted) }
  const loadBefore = load()
  const started = performance.now()
  const rows: Row[] = []
  const failed: { readonly bench: string; readonly why: string }[] = []
  for (const name of names) {
    const began = performance.now()
    try {
      const done = await benches[name]?.run({ runs, scale, ...compared })
      for (const row of done ?? []) {
        rows.push(row)
        console.error(lineOf(row))
      }
    } catch (error) {
      failed.push({ bench: name, why: error instanceof Error ? error.message : String(error) })
      console.error(error)
      process.exitCode = 1
    }
    console.error(`${name}: ${((performance.now() - began) / 1_000).toFixed(0)} s`)
  }
  const has = (id: ColumnId) =>
    rows.some(({ figures }) => figures.some(({ system }) => system === id))
  const report: Report = {
    machine: machine(),
    date: new Date().toISOString().slice(0, 16),
    load: [loadBefore, load()],
    seconds: (performance.now() - started) / 1_000,
    runs,
    scale,
    systems: columns.filter((column) => isWanted(column) || has(column.id)).map(describe),
    rows,
    failed,
  }
  await write(report, wanted)
}

async function write(report: Report, { record, out = outputDefault }: Wanted): Promise<void> {
  const table = markdownOf(report)
  const values = `${JSON.stringify(report, undefined, 1)}\n`
  await mkdir(out, { recursive: true })
  await writeFile(join(out, 'table.md'), table)
  await writeFile(join(out, 'figures.json'), values)
  if (record && report.failed.length > 0) {
    console.error('nothing is recorded, because a benchmark failed')
  } else if (record) {
    const page = new URL('README.md', here)
    await writeFile(page, withSection(await readFile(page, 'utf8'), table))
    await writeFile(new URL('figures.json', here), values)
  }
  console.log(table)
}

function describe(system: Compared<ColumnId>): Described {
  const { id, title, durability } = system
  return { id, title, durability, ...system.found() }
}

/** A row for who watches the run. */
function lineOf({ bench, work, unit, figures }: Row): string {
  const cells = figures.map((figure) => {
    if ('absent' in figure) return `${figure.system} ${figure.absent}: ${figure.why}`
    return `${figure.system} ${shownValues(figure.values)}`
  })
  return `${bench}: ${work}, ${unit}: ${cells.join('; ') || shownNumber(Number.NaN)}`
}
