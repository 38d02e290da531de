/** Does a known list of things to a store (crash-workload.ts) and tells in a file what was acknowledged:
 *  the place of each step; also `open` when the store is there (or `refused`), `failed PLACE CODE …`, what a watcher has seen,
 *  and after failures whether reads are right. Arguments: the data directory, the file, a seed,
 *  how many steps, how many of them under way at once (some then share a group), the share of
 *  collections, and `again` for another opening at the end, of which `again …` tells how it ended. */

import { openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { systemEnvironment } from '../../src/base/environment.js'
import { openLocal } from '../../src/engine/local-open.js'
import { isCode, toTailraceError } from '../../src/error.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import {
  type CrashOp,
  type CrashStep,
  contents,
  crashSteps,
  modelOf,
  retainedCount,
} from './crash-workload.js'

/** So small, that the tables follow, segments turn over and the history is trimmed within the list. */
const bounds = {
  flushCount: 64,
  segmentSize: 100_000,
  sparseSize: 0,
  history: { count: 20, ageMs: 0 },
}

const [directory = '', toldFile = '', seed = '', count = '', ...others] = process.argv.slice(2)
const [underWayMax = '', collects = '', last = ''] = others
const told = openSync(toldFile, 'a')
const tell = (line: string) => writeSync(told, `${line}\n`)

const store = await openStore().catch((error: unknown) => {
  tell(`refused ${toTailraceError(error).code} ${toTailraceError(error).message}`)
  process.exit(0)
})
tell('open')
const steps = crashSteps(Number(seed), Number(count), Number(collects))
const watching = watch(store)
const underWay = new Set<Promise<void>>()
const failed = new Set<number>()
for (const [index, step] of steps.entries()) {
  const alone = step.type !== 'commit'
  if (alone) await Promise.all(underWay)
  const done = act(store, step, index)
    .then(
      () => tell(`${index}`),
      (error: unknown) => {
        failed.add(index)
        tell(`failed ${index} ${toTailraceError(error).code} ${toTailraceError(error).message}`)
      },
    )
    .then(() => {
      underWay.delete(done)
    })
  underWay.add(done)
  if (alone || underWay.size >= Number(underWayMax)) await Promise.race(underWay)
}
await Promise.all(underWay)
if (failed.size > 0) {
  tell(`reads ${await readBack(store)}`)
  await store.put('after', 'x').then(
    () => tell('after done'),
    (error: unknown) => tell(`after ${toTailraceError(error)}`),
  )
}
await store[Symbol.asyncDispose]()
await watching
tell('closed')
if (last === 'again') tell(`again ${await useAgain()}`)

/** Opens the store once more, and writes to it: the system may show what failed writes left, and the
 *  disk have none of it. */
async function useAgain(): Promise<string> {
  try {
    const again = await openStore()
    try {
      await again.namespaces.create('again')
      // More than what begins a flush, which writes over pages that the failed one had written to.
      const ops = Array.from({ length: 2 * bounds.flushCount }, (_, at): CrashOp => {
        return { op: 'put', key: `${at}`, value: contents(`${at} `, 300) }
      })
      await again.commit({ ops }, { namespace: 'again' })
    } finally {
      await again[Symbol.asyncDispose]()
    }
    return 'done'
  } catch (error) {
    const { code, message } = toTailraceError(error)
    return `${code} ${message}`
  }
}

async function openStore(): Promise<EmbeddedStore> {
  const path = join(directory, 'store')
  const engine = await openLocal(path, { environment: systemEnvironment, bounds })
  try {
    return await openOn(engine)
  } catch (error) {
    await engine[Symbol.asyncDispose]()
    throw error
  }
}

/** What it sees is durable, or it may not see it. */
async function watch(from: EmbeddedStore): Promise<void> {
  try {
    for await (const event of from.watch('log', { mode: 'append', waitCreate: true })) {
      if (event.type === 'append') tell(`seen ${event.seq}`)
    }
  } catch (error) {
    if (!isCode(error, 'ECLOSED')) tell(`watch ${toTailraceError(error)}`)
  }
}

/** Whether the newest root, whatever failed, holds what it should. */
async function readBack(from: EmbeddedStore): Promise<string> {
  const expected = modelOf(steps, failed).states.get('primary')?.at(-1)
  let wrong = ''
  for (const [key, bytes] of expected ?? []) {
    if (!bytes.equals((await from.get(key)) ?? Buffer.from('nothing'))) wrong = `wrong: ${key}`
  }
  return wrong || 'right'
}

async function act(to: EmbeddedStore, step: CrashStep, index: number): Promise<void> {
  switch (step.type) {
    case 'commit':
      await to.commit({ ops: step.ops }, { namespace: step.namespace })
      return
    case 'create':
      await to.namespaces.create(step.namespace)
      return
    case 'remove':
      await to.namespaces.remove(step.namespace)
      return
    case 'configure':
      await to.namespaces.configure(step.namespace, {
        ...{ historyCount: retainedCount, historyAgeMs: 0 },
      })
      return
    case 'collect':
      await to.upkeep.collect()
      return
    case 'stream':
      await to.put(step.key, chunksOf(contents(`${index} `, step.size)), {
        namespace: step.namespace,
      })
      return
    default:
      step satisfies never
  }
}

async function* chunksOf(bytes: Buffer): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000)
}
