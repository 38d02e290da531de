/** Does a known list of things to a store (crash-workload.ts) and tells in a file what was acknowledged:
 *  the place of each step, `open` when the store is there. Arguments: the data directory, the file, a seed,
 *  how many steps. */

import { openSync, writeSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { systemEnvironment } from '../../src/base/environment.js'
import { openLmdb } from '../../src/engine/lmdb.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { type CrashStep, contents, crashSteps } from './crash-workload.js'

/** So few, that the index is flushed and the history trimmed within the list. */
const bounds = { indexFlushCount: 64, history: { count: 20, ageMs: 0 } }
/** Transactions under way at once, so that some share a group. */
const underWayMax = 6

const [directory = '', toldFile = '', seed = '', count = ''] = process.argv.slice(2)
const told = openSync(toldFile, 'a')
const tell = (line: string) => writeSync(told, `${line}\n`)

await mkdir(directory, { recursive: true })
const engine = await openLmdb(join(directory, 'store'), { environment: systemEnvironment, bounds })
const store = await openOn(engine)
tell('open')
const underWay = new Set<Promise<void>>()
for (const [index, step] of crashSteps(Number(seed), Number(count)).entries()) {
  const alone = step.type !== 'commit'
  if (alone) await Promise.all(underWay)
  const done = act(store, step, index).then(() => {
    tell(`${index}`)
    underWay.delete(done)
  })
  underWay.add(done)
  if (alone || underWay.size >= underWayMax) await Promise.race(underWay)
}
await Promise.all(underWay)
await store[Symbol.asyncDispose]()
tell('closed')

async function act(to: EmbeddedStore, step: CrashStep, index: number): Promise<void> {
  switch (step.type) {
    case 'commit':
      await to.commit({ ops: step.ops }, { namespace: step.namespace })
      return
    case 'create':
      await to.createNamespace(step.namespace)
      return
    case 'remove':
      await to.removeNamespace(step.namespace)
      return
    case 'stream':
      await to.put(step.key, chunksOf(contents(`${index} `, step.size)), step)
      return
    default:
      step satisfies never
  }
}

async function* chunksOf(bytes: Buffer): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000)
}
