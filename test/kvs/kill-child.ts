/** A process that is made to be killed: `sweep DIRECTORY ROUND` writes while collections run in a loop,
 *  `move DIRECTORY` moves keys to and fro between two namespaces. Each line says what was acknowledged. */

import { type EmbeddedStore, open } from '../../src/open.js'

const [mode = '', directory = '', round = ''] = process.argv.slice(2)

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Writer `id`: the number of each write, in its slot and at the end of its log. */
async function write(store: EmbeddedStore, id: string): Promise<void> {
  for (let count = 0; ; count++) {
    const value = `${count} `.repeat(3_000)
    await store.commit({
      ops: [
        { op: 'put', key: `${id}/slot${count % 5}`, value },
        { op: 'append', key: `${id}/log`, value: `${count} ` },
      ],
    })
    say(`${id} ${count}`)
  }
}

async function collect(store: EmbeddedStore): Promise<void> {
  for (;;) await store.upkeep.collect({ onProgress: ({ phase }) => say(phase) })
}

/** Mover `id`: its keys in turn, each to where it is not. */
async function move(store: EmbeddedStore, id: number): Promise<void> {
  const sides = ['primary', 'other'] as const
  const keys = [0, 1, 2, 3, 4].map((each) => `${id}/${each}`)
  const side = new Map<string, number>()
  for (const key of keys) side.set(key, (await store.stat(key)) ? 0 : 1)
  for (;;) {
    for (const key of keys) {
      const from = side.get(key) ?? 0
      const [source, target] = [sides[from] ?? 'primary', sides[1 - from] ?? 'other']
      const ops = [{ op: 'move', from: key, key, namespace: source } as const]
      await store.commit({ ops }, { namespace: target })
      side.set(key, 1 - from)
      say(`${key} ${1 - from}`)
    }
  }
}

const store = await open({ directory })
const ids = [0, 1, 2]
await (mode === 'sweep'
  ? Promise.all([collect(store), ...ids.map((id) => write(store, `${round}.${id}`))])
  : Promise.all(ids.map((id) => move(store, id))))
