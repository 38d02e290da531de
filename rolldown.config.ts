/** How the command is built: `src/cli` with all that it uses becomes a few files in `dist/cli`, since Node takes long to
 *  find and open each of hundreds. What a command needs in any case is one file, the client another, the store and its
 *  server a third; each is loaded when it is used. The library is built by tsc, file by file. */

import { readFileSync } from 'node:fs'
import { defineConfig } from 'rolldown'

const manifest: Readonly<Record<string, Readonly<Record<string, string>> | undefined>> = JSON.parse(
  readFileSync(new URL('package.json', import.meta.url), 'utf8'),
)
const packages = [
  ...Object.keys(manifest['dependencies'] ?? {}),
  ...Object.keys(manifest['optionalDependencies'] ?? {}),
]

const shared = {
  platform: 'node',
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
