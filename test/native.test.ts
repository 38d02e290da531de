/** A platform for which lmdb has no native build: what is told, and what works all the same. See rfc/13, rule 24. */

import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { repository } from './tidy/tree.js'

const program = `
import { open } from './dist/index.js'
const store = await open()
await store.put('key', 'value')
console.log(Buffer.from(await store.get('key')).toString())
await store[Symbol.asyncDispose]()
await open({ directory: 'data' }).catch(({ code, message }) => console.log(code, message))
`

test('without the native part of lmdb a store in memory works, one on disk says what to install', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-native-'))
  try {
    const modules = join(repository, 'node_modules')
    const there = join(directory, 'node_modules')
    await mkdir(there)
    for (const name of await readdir(modules)) {
      if (!['@lmdb', 'lmdb'].includes(name)) await symlink(join(modules, name), join(there, name))
    }
    // A copy, since a link would find the native part beside its target.
    const filter = (path: string) => !['dependencies', 'src', 'build'].includes(basename(path))
    await cp(join(modules, 'lmdb'), join(there, 'lmdb'), { recursive: true, filter })
    await cp(join(repository, 'dist'), join(directory, 'dist'), { recursive: true })
    await cp(join(repository, 'package.json'), join(directory, 'package.json'))
    await writeFile(join(directory, 'program.mjs'), program)
    const { stdout } = await promisify(execFile)(process.execPath, ['program.mjs'], {
      cwd: directory,
    })
    const name = `@lmdb/lmdb-${process.platform}-${process.arch}`
    expect(stdout).toMatch(
      new RegExp(`^value\nEMISCONFIGURED lmdb has .*install ${name}, or .*\n$`),
    )
    expect(await readdir(directory)).not.toContain('data')
  } finally {
    await rm(directory, { recursive: true })
  }
})
