/** The store of format 1 in `test/fixtures`, made by the version before the journal, and everything that it
 *  has. */

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { EmbeddedStore } from '../../src/open.js'

const fixture = fileURLToPath(new URL('../fixtures/store-format-1.tgz', import.meta.url))

/** Unpacks the store into a new directory. */
export async function unpackOld(directory: string): Promise<string> {
  await mkdir(directory, { mode: 0o700 })
  execFileSync('tar', ['xzf', fixture, '-C', directory])
  return directory
}

/** Returns bytes as text. */
export const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString()

/** The content of its key `log`. */
export const log = [
  ...Array.from({ length: 300 }, (_, n) => `line ${n}\n`),
  'the last line\n',
].join('')
const large = 'large value '.repeat(50_000)

/** Everything that the store has. */
export async function oldContentOf(store: EmbeddedStore) {
  const names = Array.from({ length: 500 }, (_, n) => `many/name-${n}`)
  const many = (await store.readMany(names)).values.map(text)
  let watched = ''
  let sealed = false
  for await (const event of store.watch('log', { mode: 'append' })) {
    if (event.type === 'append') watched += text(event.data)
    if (event.type === 'end') sealed = event.reason === 'sealed'
  }
  const pins = await store.history.pins()
  const [pin] = pins
  return {
    config: text(await store.get('config/mode')),
    before: text(await store.get('config/mode', { at: pin?.seq ?? 0 })),
    pins: pins.map(({ name }) => name),
    large: sumOf((await store.get('large')) ?? Buffer.of()),
    log: text(await store.get('log')),
    watched,
    sealed,
    many,
    listed: (await store.list('many')).entries.length,
    namespaces: (await store.namespaces.list()).map(({ name }) => name).sort(),
    second: text(await store.get('a/b', { namespace: 'second' })),
  }
}

function sumOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The content that `oldContentOf` finds in it. */
export const oldContent = {
  config: 'off',
  before: 'on',
  pins: ['before'],
  large: sumOf(Buffer.from(large)),
  log,
  watched: log,
  sealed: true,
  many: Array.from({ length: 500 }, (_, n) => (n === 7 ? undefined : `value ${n}`)),
  listed: 499,
  namespaces: ['cache', 'flows', 'jobs', 'primary', 'second', 'system'],
  second: 'in the second',
}
