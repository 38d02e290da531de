/** The house rules that tsc and biome do not see: which way imports point, one library in one file,
 *  heads and names of files, cited rfcs. Each failure names the file and the remedy. What may
 *  not be written in a line stands in tidy/text.test.ts. */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'vitest'
import { citationsIn } from './tidy/citations.js'
import { browserLeaks, cycles } from './tidy/graph.js'
import { roomOf } from './tidy/structure.js'
import {
  files,
  nothing,
  packageOf,
  pathsIn,
  readText,
  repository,
  sources,
  targetOf,
} from './tidy/tree.js'

/** From the bottom up: a file may import its own room and the rooms before it. Rooms of one row do
 *  not import each other. A new room gets its place here. */
const order: readonly (readonly string[])[] = [
  ['error'],
  ['base'],
  ['blob'],
  ['journal'],
  ['engine'],
  ['content'],
  ['treeobj'],
  ['tree'],
  ['walk'],
  ['api'],
  ['draft'],
  ['present'],
  ['transaction', 'past'],
  ['commit'],
  ['kvs'],
  ['collect', 'export', 'fsck'],
  ['watch'],
  ['eventlog'],
  ['job', 'cache', 'value'],
  ['flow'],
  ['worker'],
  ['store'],
  ['rights'],
  ['wire', 'local'],
  ['server', 'client'],
  ['open'],
  ['cli'],
  ['index'],
]

/** Dependencies that no file imports. light-my-request: fastify's newer ones want Node 22, and an
 *  override does not reach those who install us as a package. */
const pinned = new Set(['light-my-request'])

test('imports of src point downwards, types included', () => {
  nothing(
    sources.flatMap((file) =>
      file.imports.flatMap((item) => {
        const target = targetOf(file, item)
        if (!target) return []
        const [from, to] = [roomOf(file), roomOf(target)]
        if (from === to || rankOf(to) < rankOf(from)) return []
        return [`${file.path} imports ${target.path}: ${from} may not know ${to}; move it down`]
      }),
    ),
  )
})

test('every room of src has its place in the order, one folder deep', () => {
  nothing(
    sources.flatMap((file) => {
      if (!order.flat().includes(roomOf(file))) {
        return [`${file.path}: give the room "${roomOf(file)}" its place in test/tidy.test.ts`]
      }
      return file.path.split('/').length > 3 ? [`${file.path}: rooms are one folder deep`] : []
    }),
  )
})

test('src imports neither test nor bench, and every import of a file finds one', () => {
  nothing(
    files.flatMap((file) =>
      file.imports.flatMap((item) => {
        if (!item.from.startsWith('.') || item.from.endsWith('.json')) return []
        const target = targetOf(file, item)
        // Tests may use what configures the build, beside `src`.
        const beside = join(dirname(file.path), item.from).replace(/\.js$/, '.ts')
        const isConfig = !file.path.startsWith('src/') && beside === 'rolldown.config.ts'
        if (!target && isConfig) return []
        if (!target) return [`${file.path} imports ${item.from}, which is not there`]
        const up = file.path.startsWith('src/') && !target.path.startsWith('src/')
        return up ? [`${file.path} imports ${target.path}: src stands alone`] : []
      }),
    ),
  )
})

test('no file imports itself over others', () => {
  nothing(cycles().map((path) => `break this circle of imports: ${path.join(' → ')}`))
})

test('a package is imported by one file of src, and is a dependency', () => {
  const importers = new Map<string, Set<string>>()
  for (const file of sources) {
    for (const item of file.imports) {
      const name = packageOf(item)
      if (name) importers.set(name, (importers.get(name) ?? new Set()).add(file.path))
    }
  }
  const manifest: Record<
    'dependencies' | 'optionalDependencies',
    Record<string, string>
  > = JSON.parse(readText('package.json'))
  const dependencies = new Set([
    ...Object.keys(manifest.dependencies),
    ...Object.keys(manifest.optionalDependencies),
  ])
  const whole = sources.some(({ path }) => path === 'src/index.ts')
  nothing([
    ...[...importers]
      .filter(([, paths]) => paths.size > 1)
      .map(([name, paths]) => `${name} is imported by ${[...paths].join(', ')}: leave it to one`),
    ...[...importers]
      .filter(([name]) => !dependencies.has(name))
      .map(([name, paths]) => `${[...paths].join()} imports ${name}: add it to dependencies`),
    ...[...dependencies]
      .filter((name) => whole && !importers.has(name) && !pinned.has(name))
      .map((name) => `${name} is imported by no file of src: drop the dependency`),
  ])
})

test('built-ins are imported as node:', () => {
  const builtins =
    /^(fs|path|os|crypto|events|stream|net|http|https|util|url|child_process|buffer)$/
  nothing(
    files.flatMap((file) =>
      file.imports
        .filter(({ from }) => builtins.test(from.split('/')[0] ?? ''))
        .map(({ from }) => `${file.path}: import node:${from}`),
    ),
  )
})

test('what runs in a browser reaches no hash, no ws and no built-in', () => {
  nothing(browserLeaks())
})

test('every file opens with a comment that says what it is', () => {
  nothing(
    files
      .filter(({ text }) => !/^(#!.*\n)?\/\*\*\s+\S+ \S+[\s\S]*?\*\//.test(text))
      .map(({ path }) => `${path}: open with /** what it is, what it holds true, which rfc */`),
  )
})

test('names of files are kebab-case nouns that say something', () => {
  const shape = /^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/
  const empty = /^(utils?|helpers?|managers?|data|info|common|misc|types|constants)\b/
  nothing(
    files
      .map(({ path }) => ({ path, name: path.split('/').at(-1) ?? '' }))
      .filter(({ name }) => !shape.test(name) || empty.test(name))
      .map(({ path }) => `${path}: name it after the one noun that it holds`),
  )
})

test('only entries of the package pass on what others export', () => {
  const { exports: entryPoints } = JSON.parse(readText('package.json'))
  // What the entries have in common stands in src/api/api.ts.
  const entries = new Set([
    'src/api/api.ts',
    ...[...JSON.stringify(entryPoints).matchAll(/\.\/dist\/([^"]+?)(?:\.d)?\.(?:ts|js)"/g)].map(
      ([, name]) => `src/${name}.ts`,
    ),
  ])
  nothing(
    sources
      .filter(({ path }) => !entries.has(path))
      .filter((file) => {
        const passedOn = file.imports.filter(({ kind }) => kind === 'export')
        const own = /^export (?!type \{|\{|\*)/m.test(file.code)
        const foreign = passedOn.some(
          (item) => roomOf(targetOf(file, item) ?? file) !== roomOf(file),
        )
        return passedOn.length > 0 && (foreign || !own)
      })
      .map(
        ({ path }) => `${path}: import it where it is made; only entries of the package pass on`,
      ),
  )
})

const rfcs = pathsIn('rfc').map((path) => ({ path, text: readText(path) }))

test('every rfc has a number of its own, a title and a state', () => {
  const numbers = rfcs.map(({ path }) => /^rfc\/(\d+)-[a-z-]+\.md$/.exec(path)?.[1])
  nothing(
    rfcs.flatMap(({ path, text }, index) => {
      const number = numbers[index]
      if (!number) return [`${path}: an rfc is rfc/N-name.md`]
      if (numbers.indexOf(number) !== index) return [`${path}: the number ${number} is taken`]
      if (!text.startsWith(`# rfc/${number}: `)) return [`${path}: begin with "# rfc/${number}: "`]
      const state = /^State: (draft|in force|replaced by rfc\/\d+)\b/m.test(text)
      return state ? [] : [`${path}: say "State: draft", "in force" or "replaced by rfc/N"`]
    }),
  )
})

test('a page gives each rule number once, and has at most 100 columns', () => {
  nothing(
    rfcs.flatMap(({ path, text }) => {
      // Code and tables are as wide as they are.
      const prose = text.replace(/^ *```[a-z]+\n[\s\S]*?^ *```$/gm, '').replace(/^ *\|.*$/gm, '')
      const rules = [...prose.matchAll(/^(\d+)\. /gm)].map(([, number]) => number)
      return [
        ...rules
          .filter((number, index) => rules.indexOf(number) !== index)
          .map((number) => `${path} has two rules ${number}: give the later one a new number`),
        ...prose
          .split('\n')
          .filter((line) => line.length > 100)
          .map((line) => `${path}: wrap "${line.slice(0, 40)}…" at 100 columns`),
      ]
    }),
  )
})

test('every rfc and rule that is cited exists', () => {
  const pages = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', ...pathsIn('docs')]
    .filter((path) => existsSync(join(repository, path)))
    .map((path) => ({ path, text: readText(path) }))
  nothing(
    [...files, ...rfcs, ...pages].flatMap(({ path, text }) =>
      citationsIn(text, /^rfc\/(\d+)-/.exec(path)?.[1]).flatMap(({ number, rule }) => {
        const cited = rfcs.find((rfc) => rfc.path.startsWith(`rfc/${number}-`))
        if (!cited) return [`${path} cites rfc/${number}: write it, or cite the one that says so`]
        if (!rule || new RegExp(`^${rule}\\. `, 'm').test(cited.text)) return []
        return [`${path} cites rfc/${number}, rule ${rule}, which is not there`]
      }),
    ),
  )
})

test('every room and file that ARCHITECTURE.md names is there', () => {
  const text = readText('ARCHITECTURE.md')
  const known = new Set(files.flatMap(({ path }) => [path, path.replace(/^src\//, '')]))
  const named = [...text.matchAll(/`((?:[a-z-]+\/)+[a-z-]+\.ts)`/g)].map(([, path]) => path ?? '')
  const rooms = order.flat().filter((room) => !text.includes(room))
  nothing([
    ...named.filter((path) => !known.has(path)).map((path) => `${path} is gone`),
    ...rooms.map((room) => `the room ${room} is not named`),
  ])
})

test('every file that the README links to is there, and in the package', () => {
  const linked = [...readText('README.md').matchAll(/\]\(([^):#]+)\)/g)].map(
    ([, path]) => path ?? '',
  )
  const packed: { readonly files: readonly string[] } = JSON.parse(readText('package.json'))
  const roots = new Set([...packed.files, 'README.md', 'LICENSE'])
  nothing([
    ...linked
      .filter((path) => !existsSync(join(repository, path)))
      .map((path) => `README.md links to ${path}, which is not there`),
    ...linked
      .filter((path) => !roots.has(path.split('/')[0] ?? ''))
      .map((path) => `README.md links to ${path}: add it to the files of package.json`),
  ])
})

test('every environment variable that src names stands in the README', () => {
  const readme = readText('README.md')
  nothing(
    sources.flatMap(({ path, text }) =>
      [...text.matchAll(/\b(?:TAILRACE|XDG)_[A-Z_]*[A-Z]\b/g)]
        .filter(([name]) => !readme.includes(`\`${name}\``))
        .map(([name]) => `${path} names ${name}: say in the README what it does`),
    ),
  )
})

test('the lock file names no address of a registry', () => {
  const remedy =
    'package-lock.json: npm config set omit-lockfile-registry-resolved true, and install'
  nothing(readText('package-lock.json').includes('"resolved"') ? [remedy] : [])
})

/** Rooms without a place are above all: another test asks for it. */
function rankOf(room: string): number {
  const rank = order.findIndex((row) => row.includes(room))
  return rank < 0 ? order.length : rank
}
