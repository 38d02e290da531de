/** GNU make and ninja: a file for each target, which a shell writes, or awk. Each target is a process that
 *  is started, or two; files are not synced. The time is that of the whole program, which reads its file
 *  of rules and looks at all files first. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type FlowGraph, lastOf, modulus, sizeOfSlice } from '../flow-graphs.js'
import { found, program } from '../systems/fetched.js'
import { type FlowPeer, type FlowPlace, type MadeGraph, makeMsMax } from './flow-peer.js'

/** The number of characters of its last words that an error quotes. */
const saidMax = 1_000

/** A builder of files. */
export type Builder = FlowPeer & {
  /** Writes the rules of a graph into a directory. */
  describe(directory: string, graph: FlowGraph): Promise<void>
  /** Builds what is not up to date there, `jobs` commands at a time. Returns the time in ms. Throws where a
   *  command fails, or where it takes too long. */
  build(directory: string, jobs: number): Promise<number>
  /** Looks whether all is up to date there, and builds nothing. Returns the time in ms. Throws unless all
   *  is. */
  check(directory: string): Promise<number>
}

type Rules = Pick<FlowPeer, 'title'> & {
  readonly id: 'make' | 'ninja'
  readonly file: string
  readonly text: (graph: FlowGraph) => string
  /** The arguments of a look that builds nothing, and what it says if all is up to date. */
  readonly look: { readonly args: readonly string[]; readonly says: string }
  readonly quiet: readonly string[]
}

export const make = builder({
  id: 'make',
  title: 'GNU make',
  file: 'Makefile',
  text: makefileOf,
  look: { args: ['-r', '-q', 'all'], says: '' },
  quiet: ['-r', '-s'],
})

export const ninja = builder({
  id: 'ninja',
  title: 'ninja',
  file: 'build.ninja',
  text: ninjaFileOf,
  look: { args: ['-n'], says: 'ninja: no work to do.' },
  quiet: ['--quiet'],
})

function builder({ id, title, file, text, look, quiet }: Rules): Builder {
  const describe = (directory: string, graph: FlowGraph) =>
    writeFile(join(directory, file), text(graph))
  const build = async (directory: string, jobs: number) =>
    (await runToEnd(id, [...quiet, `-j${jobs}`], directory)).ms
  const made = async (
    { directory, processes, slots }: FlowPlace,
    graph: FlowGraph,
  ): Promise<MadeGraph> => {
    const place = await mkdtemp(join(directory, 'graph-'))
    await describe(place, graph)
    const ms = await build(place, processes * slots)
    const results: number[] = []
    for (const at of lastOf(graph)) {
      results.push(Number(await readFile(join(place, nameOf(at)), 'utf8')))
    }
    return { ms, results }
  }
  return {
    ...{ id, title, describe, build },
    durability: 'a process for each target, which writes a file, not synced',
    keeps: true,
    found: () => found(id),
    with: (place, use) => use((graph) => made(place, graph)),
    check: async (directory) => {
      const { ms, said } = await runToEnd(id, look.args, directory)
      if (said.trim() !== look.says) throw new Error(`${id} would build something: ${said}`)
      return ms
    },
  }
}

function nameOf(at: number): string {
  return `t${at}`
}

/** The command of each work, by the variables of ninja. Those of a shell have two `$`. */
const commands = {
  data: 'seq 0 $last > $out',
  slice: "awk 'NR > $from && NR <= $to { s += $$1 } END { print s }' $in > $out",
  sum: `awk '{ s += $$1 } END { print (s + $more) % ${modulus} }' $in > $out`,
  leaf: `echo $$(($more % ${modulus})) > $out`,
} as const

type Rule = { readonly rule: keyof typeof commands; readonly variables: Record<string, number> }

function ruleOf({ work, argument, sources }: FlowGraph[number]): Rule {
  switch (work) {
    case 'data':
      return { rule: 'data', variables: { last: argument - 1 } }
    case 'slice':
      return { rule: 'slice', variables: { from: argument, to: argument + sizeOfSlice } }
    case 'sum':
      return { rule: sources.length === 0 ? 'leaf' : 'sum', variables: { more: argument } }
    default:
      return work satisfies never
  }
}

function ninjaFileOf(graph: FlowGraph): string {
  const rules = Object.entries(commands).map(([rule, text]) => `rule ${rule}\n  command = ${text}`)
  const builds = graph.map((node, at) => {
    const { rule, variables } = ruleOf(node)
    const lines = Object.entries(variables).map(([name, value]) => `\n  ${name} = ${value}`)
    const sources = node.sources.map((source) => ` ${nameOf(source)}`)
    return `build ${nameOf(at)}: ${rule}${sources.join('')}${lines.join('')}`
  })
  return `${[...rules, ...builds].join('\n')}\n`
}

function makefileOf(graph: FlowGraph): string {
  const texts = graph.map((node, at) => {
    const { rule, variables } = ruleOf(node)
    const command = commands[rule].replaceAll(/\$(\w+)/g, (whole, name: string) => {
      if (name === 'in') return '$^'
      if (name === 'out') return '$@'
      return String(variables[name] ?? whole)
    })
    return `${nameOf(at)}: ${node.sources.map(nameOf).join(' ')}\n\t${command}`
  })
  return `all: ${lastOf(graph).map(nameOf).join(' ')}\n${texts.join('\n')}\n`
}

/** Runs a program that ends by itself, or is killed after `makeMsMax`, and at the latest with this process:
 *  then its commands are killed, too. */
async function runToEnd(
  name: string,
  args: readonly string[],
  directory: string,
): Promise<{ readonly ms: number; readonly said: string }> {
  const began = performance.now()
  const child = spawn(program(name), args, {
    ...{ cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] },
    detached: true, // it leads a group, which its commands are part of
  })
  const kill = () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
  }
  // Before its directory is removed.
  process.prependOnceListener('exit', kill)
  const timer = setTimeout(kill, makeMsMax)
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-saidMax)
    })
  }
  try {
    const [status, signal] = await once(child, 'close')
    if (status !== 0) throw new Error(`${name} ended with ${signal ?? status}: ${said}`)
    return { ms: performance.now() - began, said }
  } finally {
    clearTimeout(timer)
    process.off('exit', kill)
  }
}
