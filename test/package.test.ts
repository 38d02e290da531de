/** The built library: each entry of the package is a few files, of which a process has one copy, whichever entries it
 *  imports; the client for browsers needs nothing of Node, and no package. */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))

type Entry = { readonly types: string; readonly default: string; readonly browser?: string }

async function entries(): Promise<Readonly<Record<string, Entry>>> {
  return JSON.parse(await readFile(join(root, 'package.json'), 'utf8')).exports
}

/** Returns the files that are loaded with a built one, itself included, and the names that these import. */
async function closureOf(start: string) {
  const files = new Set([start])
  const names = new Set<string>()
  for (const file of files) {
    const text = await readFile(file, 'utf8')
    for (const [, from = ''] of text.matchAll(/^(?:import|export) [^\n]*?["']([^"'\n]+)["'];$/gm)) {
      if (from.startsWith('.')) files.add(join(dirname(file), from))
      else names.add(from)
    }
  }
  return { files: [...files], names: [...names] }
}

it('each entry of the package has its types, and is a few files', async () => {
  for (const { types, default: file } of Object.values(await entries())) {
    expect(await readFile(join(root, types), 'utf8')).toContain('export')
    const { files } = await closureOf(join(root, file))
    expect(files.length, file).toBeGreaterThan(1)
    expect(files.length, file).toBeLessThan(16)
  }
})

it('all entries have one class of errors', async () => {
  const names = Object.keys(await entries()).map((name) => name.replace('.', 'tailrace'))
  const program = `
    const modules = await Promise.all(${JSON.stringify(names)}.map((name) => import(name)))
    const classes = modules.flatMap((each) => each.TailraceError ?? [])
    console.log(classes.length, new Set(classes).size)`
  const args = ['--input-type=module', '--eval', program]
  const { stdout } = await run(process.execPath, args, { cwd: root })
  expect(stdout).toMatch(/^[2-9] 1\n$/)
})

it('the client for browsers imports nothing of Node, and no package', async () => {
  const { files, names } = await closureOf(join(root, 'dist/client/web.js'))
  expect(names).toEqual([])
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')))
  expect(texts.filter((text) => /["']node:/.test(text))).toEqual([])
})
