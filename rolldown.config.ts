/** How the command is built: `src/cli` with all that it uses becomes a few files in `dist/cli`, since Node takes long to
 *  find and open each of hundreds. What a command needs in any case is one file, the client another, the store and its
 *  server a third; each is loaded when it is used. Packages of plain JavaScript are taken in, too, since finding and
 *  reading their files took a quarter of the start of a command and of a server; their licences stand beside the
 *  files. The library is built by tsc, file by file, and imports its packages. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig, type Plugin } from 'rolldown'

const manifest: Readonly<Record<string, Readonly<Record<string, string>> | undefined>> = JSON.parse(
  readFileSync(new URL('package.json', import.meta.url), 'utf8'),
)
/** The packages that are taken in. The others have native parts or files of other kinds, or are loaded by those that
 *  have: two copies of msgpackr would take longer than one. */
const takenIn: readonly string[] = [
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
].filter((name) => !takenIn.includes(name))

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
  plugins: [licences],
  external: packages.map((name) => new RegExp(`^${name}(/|$)`)),
  transform: { target: 'node20' },
} as const

const output = {
  dir: 'dist/cli',
  chunkFileNames: '[name]-[hash].js',
  // For `node --enable-source-maps`; the lines themselves are readable as they are.
  sourcemap: true,
  comments: { legal: true, annotation: true, jsdoc: false },
} as const

export default defineConfig([
  {
    ...shared,
    input: 'src/cli/main.ts',
    output: {
      ...output,
      codeSplitting: {
        // A group takes along what its files import, unless one before it has that already.
        groups: [
          { name: 'tailrace', test: /src\/cli\/process\.ts$/, priority: 3 },
          { name: 'client', test: /src\/client\//, priority: 2 },
          { name: 'store', test: /src\/(open|server|export|fsck|engine)\b/, priority: 1 },
        ],
      },
    },
  },
  // The keeper is a small process of its own.
  { ...shared, input: 'src/cli/keeper.ts', output },
])
