/** How the package is built, as few files, since Node takes long to find and open each of hundreds.
 *
 *  The command: `src/cli` with all that it uses, in `dist/cli`. What a command needs in any case is one file, the
 *  client another, the hashes a third, the store and its server a fourth; each is loaded when it is used. Packages of
 *  plain JavaScript are taken in, too, since finding and reading their files took a quarter of the start of a command
 *  and of a server; their licences stand beside the files.
 *
 *  The library: a file for each entry of the package and for each program of its threads and processes, at the place of
 *  its source, and files in `dist/shared` with what they share, so that all entries of a process have one copy of each
 *  module. It imports its packages. tsc writes the declarations. */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'rolldown'

const manifest: Readonly<Record<string, Readonly<Record<string, string>> | undefined>> = JSON.parse(
  readFileSync(new URL('package.json', import.meta.url), 'utf8'),
)
/** The packages that are taken in. The others have native parts or files of other kinds, or are loaded by those that
 *  have: two copies of msgpackr would take longer than one. */
export const takenIn: readonly string[] = [
  '@fastify/websocket',
  'commander',
  'fastify',
  'light-my-request',
  'lru-cache',
  'picocolors',
  'ws',
]
const packages = [
  ...Object.keys(manifest['dependencies'] ?? {}),
  ...Object.keys(manifest['optionalDependencies'] ?? {}),
]

/** The imports of a package and of its parts. */
function patternOf(name: string): RegExp {
  return new RegExp(`^${name}(/|$)`)
}

/** Writes the licences of the packages of which modules are in the bundle, which ask for that. */
const licences: Plugin = {
  name: 'licences',
  generateBundle(_options, bundle) {
    const modules = Object.values(bundle).flatMap((file) =>
      file.type === 'chunk' ? file.moduleIds : [],
    )
    const found = modules.flatMap(
      (id) => /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/?]+)/.exec(id)?.[1] ?? [],
    )
    const texts = [...new Set(found)].sort().flatMap((directory) => {
      const { name, version, license } = JSON.parse(
        readFileSync(join(directory, 'package.json'), 'utf8'),
      )
      const file = readdirSync(directory).find((each) => /^licen[cs]e/i.test(each))
      const text = file ? readFileSync(join(directory, file), 'utf8') : `${license}\n`
      return `${name} ${version}\n\n${text}`
    })
    if (texts.length === 0) return
    this.emitFile({ type: 'asset', fileName: 'licences.txt', source: texts.join('\n---\n\n') })
  },
}

const shared = {
  platform: 'node',
  external: packages.filter((name) => !takenIn.includes(name)).map(patternOf),
  transform: { target: 'node20' },
} as const

const common = {
  // For `node --enable-source-maps`; the lines themselves are readable as they are.
  sourcemap: true,
  comments: { legal: true, annotation: true, jsdoc: false },
} as const

const command = { ...common, dir: 'dist/cli', chunkFileNames: '[name]-[hash].js' } as const

/** The entries of the library, and the programs that it starts, by the places of their sources. */
const entries: readonly string[] = [
  ...['index', 'client/node', 'client/web', 'cache/cache', 'value/values', 'flow/flow'],
  ...['worker/worker', 'worker/program', 'worker/guard', 'client/lease-worker'],
]

const sources = fileURLToPath(new URL('src/', import.meta.url))

/** Lets modules of the library find files as if each was built into a file of its own: `import.meta.url` names the
 *  place beside which the program of a thread is. */
const places: Plugin = {
  name: 'places',
  transform(code, id) {
    if (!id.startsWith(sources) || !code.includes('import.meta.url')) return
    for (const [, name] of code.matchAll(/new URL\(`\.\/([\w-]+)\$/g)) {
      const program = join(dirname(id), `${name}`).slice(sources.length)
      if (!entries.includes(program)) this.error(`${id} starts ${program}: add it to the entries`)
    }
    const place = `../${id.slice(sources.length).replace(/\.ts$/, '.js')}`
    const named = `new URL('${place}', import.meta.url).href`
    return { code: code.replaceAll('import.meta.url', named), map: null } // lines stay
  },
  generateBundle(_options, bundle) {
    for (const file of Object.values(bundle)) {
      const isOneDeep = file.fileName.split('/').length === 2
      if (file.type === 'chunk' && file.code.includes('import.meta.url') && !isOneDeep) {
        this.error(`${file.fileName} has import.meta.url, and is not in a folder of dist`)
      }
    }
  },
}

export default defineConfig([
  {
    ...shared,
    plugins: [licences],
    input: 'src/cli/main.ts',
    output: {
      ...command,
      codeSplitting: {
        // A group takes along what its files import, unless one before it has that already.
        groups: [
          { name: 'tailrace', test: /src\/cli\/process\.ts$/, priority: 4 },
          { name: 'client', test: /src\/client\//, priority: 3 },
          // Commands of flows and of the cache hash, too, and do not need the store for that.
          { name: 'hash', test: /src\/blob\//, priority: 2 },
          { name: 'store', test: /src\/(open|server|export|fsck|engine)\b/, priority: 1 },
        ],
      },
    },
  },
  // The keeper is a small process of its own.
  { ...shared, plugins: [licences], input: 'src/cli/keeper.ts', output: command },
  {
    ...shared,
    plugins: [places],
    external: packages.map(patternOf),
    input: Object.fromEntries(entries.map((name) => [name, `src/${name}.ts`])),
    output: {
      ...common,
      dir: 'dist',
      chunkFileNames: 'shared/[name]-[hash].js',
      codeSplitting: {
        // The first two are all that browsers load, and need no more than those have.
        groups: [
          { name: 'base', test: /src\/(error|api\/api|base\/(abort|loop-slice|shape|timer))\.ts$/ },
          { name: 'client', test: /src\/client\/client\.ts$/ },
          { name: 'node', test: /src\/client\/node\.ts$/ },
          { name: 'system', test: /src\/(base|local)\// },
          { name: 'values', test: /src\/value\/values\.ts$/ },
          { name: 'cache', test: /src\/cache\/cache\.ts$/ },
          { name: 'hash', test: /src\/blob\// },
          { name: 'calls', test: /src\/flow\/(callee|caller|packed-results)\.ts$/ },
          { name: 'run', test: /src\/flow\/(run-[a-z]+|recorded-times|forecast)\.ts$/ },
          { name: 'kept', test: /src\/flow\/(kept-run|packed-maker)\.ts$/ },
          { name: 'guard', test: /src\/worker\/(decisions|lines)\.ts$/ },
          { name: 'workers', test: /src\/worker\/process-link\.ts$/ },
          { name: 'store', test: /src\/(open|index)\.ts$/ },
        ],
      },
    },
  },
])
