/** The command line of `npm run bench`. Pure. */

import { parseArgs } from 'node:util'
import type { ColumnId } from './figures.js'

/** The command: say something and end, or run benchmarks. */
export type Asked =
  | { readonly type: 'help' }
  | { readonly type: 'list' }
  | { readonly type: 'wrong'; readonly message: string }
  | {
      readonly type: 'run'
      readonly names: readonly string[]
      readonly runs: number
      readonly scale: number
      readonly peers: readonly ColumnId[]
      readonly record: boolean
      /** The directory of the table and the values; undefined is the default. */
      readonly out: string | undefined
    }

export const runsDefault = 3

export const usage = `npm run bench -- [NAME...] [OPTIONS]

Runs all benchmarks, or those that are named, ours and its peers in turn, and prints a Markdown table.
It and a JSON file with every value are written to .bench/.

  --runs N        runs of each, of which medians are shown (default ${runsDefault})
  --peers A,B     only these peers, or none (default: all; bench/peers.sh fetches them)
  --out DIR       where the table and the values go (default .bench)
  --scale N       divides the work by N, to see whether a benchmark works
  --record        writes the table to bench/README.md and the JSON file beside it; only of all benchmarks
  --list          the benchmarks and their questions
  --help          this`

/** Reads the arguments behind the command. Names that are not known are wrong, and the known ones
 *  are said. */
export function parseArguments(
  args: readonly string[],
  known: {
    readonly benches: readonly string[]
    /** The benchmarks of a run without names. */
    readonly all: readonly string[]
    readonly peers: readonly ColumnId[]
  },
): Asked {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse(args)
  } catch (error) {
    return wrong(error instanceof Error ? error.message : String(error))
  }
  const { values, positionals } = parsed
  if (values.help) return { type: 'help' }
  if (values.list) return { type: 'list' }
  const unknown = positionals.filter((name) => !known.benches.includes(name))
  if (unknown.length > 0) {
    return wrong(
      `there is no benchmark ${unknown.join(', ')}; there are: ${known.benches.join(', ')}`,
    )
  }
  const isWhole = positionals.length === 0 && values.scale === '1' && values.peers === 'all'
  if (values.record && !isWhole) {
    return wrong('--record is for a run of all benchmarks and peers at full size')
  }
  const runs = positive(values.runs)
  const scale = positive(values.scale)
  if (runs === undefined) return wrong(`--runs takes a number from 1 on, not "${values.runs}"`)
  if (scale === undefined) return wrong(`--scale takes a number from 1 on, not "${values.scale}"`)
  const peers = peersOf(values.peers, known.peers)
  if (typeof peers === 'string') return wrong(peers)
  const names = positionals.length > 0 ? positionals : known.all
  return { type: 'run', names, runs, scale, peers, record: values.record, out: values.out }
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: String(runsDefault) },
      scale: { type: 'string', default: '1' },
      peers: { type: 'string', default: 'all' },
      out: { type: 'string' },
      record: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
}

/** The peers that are named, or what is wrong with the text. */
function peersOf(text: string, known: readonly ColumnId[]): readonly ColumnId[] | string {
  if (text === 'all') return known
  if (text === 'none') return []
  const names = text.split(',')
  const unknown = names.filter((name) => !known.some((peer) => peer === name))
  if (unknown.length === 0) return known.filter((peer) => names.includes(peer))
  return `there is no peer ${unknown.join(', ')}; there are: ${known.join(', ')}`
}

function positive(text: string): number | undefined {
  const value = Number(text)
  return Number.isSafeInteger(value) && value >= 1 ? value : undefined
}

function wrong(message: string): Asked {
  return { type: 'wrong', message }
}
