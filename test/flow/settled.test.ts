/** Graphs that are settled: a look at one is answered without a look at each target, and only while that would
 *  find everything. See rfc/24, rule 38, and rfc/22, rule 21. */

import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Target } from '../../src/api/flow.js'
import type { Store } from '../../src/api/store.js'
import { deferred } from '../../src/base/deferred.js'
import { openCache } from '../../src/cache/cache.js'
import { evict } from '../../src/cache/eviction.js'
import { areKeptIn, type LayerState } from '../../src/cache/layer.js'
import { file, map, outdated, packed, run, target } from '../../src/flow/flow.js'
import { open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'
import * as fn from './kept-functions.js'
import { type RandomFlow, randomFlow } from './random-flows.js'

let store: Store & AsyncDisposable
let directory: string

beforeEach(async () => {
  store = await open()
  directory = await mkdtemp(join(tmpdir(), 'tailrace-settled-'))
  fn.gate.wait = Promise.resolve()
})
afterEach(async () => {
  await store[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

/** Looks, and tells which targets are outdated, and if each of them was looked for. */
async function look(wanted: Target<unknown> | readonly Target<unknown>[], layer = 'main') {
  let reads = 0
  const counting = new Proxy(store, {
    get: (real, name) => {
      const found: unknown = Reflect.get(real, name, real)
      if (typeof found !== 'function') return found
      return (...parameters: unknown[]) => {
        if (name === 'readMany') reads++
        return Reflect.apply(found, real, parameters)
      }
    },
  })
  const found = await outdated(wanted, { store: counting, layer })
  return { outdated: found.map((one) => one.target), isSettled: reads === 0 }
}

const settled = { outdated: [], isSettled: true }

type Parts = {
  readonly length?: number
  readonly version?: number
  readonly factor?: number
  readonly path?: string
}

function flow({ length = 3, version = 1, factor = 2, path }: Parts = {}) {
  const numbers = target('numbers', [length], fn.numbers)
  const squares = map('squares', [numbers], fn.square)
  const sum = target('sum', [squares], fn.sum, { version })
  const size = path === undefined ? [] : [target('size', [file(path), null], fn.sizeOfFile)]
  const end = target('end', [sum, factor], fn.product)
  return { numbers, sum, end, all: [end, ...size] }
}

/** Unlinks a key, if it is there, as nobody does who keeps to the rules. */
async function unlink({ commit }: Store, key: string, namespace: string): Promise<void> {
  await commit({ ops: [{ op: 'unlink', key, recursive: true }] }, { namespace })
}

/** Returns the id of the only result there is. */
async function onlyResult(): Promise<string> {
  const { results } = await openCache(store).results.list()
  expect(results).toHaveLength(1)
  return results[0]?.id ?? ''
}

describe('a run settles its graph', () => {
  it('that has targets, branches, packed inputs and files', async () => {
    const path = join(directory, 'in.txt')
    await writeFile(path, 'four')
    const graph = () => {
      const { all, sum } = flow({ path })
      return [...all, target('kept', [packed(sum), { of: [sum] }, 'plain'], fn.parameters)]
    }
    expect((await look(graph())).isSettled).toBe(false)
    await run(graph(), { store }).result
    expect(await look(graph())).toEqual(settled)
    // Only the content of a file counts.
    await utimes(path, 1, 1)
    expect(await look(graph())).toEqual(settled)
  })

  it('that it found as a whole, too', async () => {
    await run(flow().all, { store }).result
    await unlink(store, 'settled', 'flow-main')
    expect(await look(flow().all)).toEqual({ outdated: [], isSettled: false })
    await run(flow().all, { store }).result
    expect(await look(flow().all)).toEqual(settled)
  })

  it('until another run adds results: these change nothing', async () => {
    await run(flow().all, { store }).result
    await run(target('other', [1], fn.text), { store, flow: 'other' }).result
    expect(await look(flow().all)).toEqual(settled)
  })

  it('for the targets that it was asked for', async () => {
    await run(flow().all, { store }).result
    expect(await look(flow().sum)).toEqual({ outdated: [], isSettled: false })
  })

  it('unless a target failed', async () => {
    const flow = () => target('end', [target('bad', [], fn.fails, { onError: 'null' })], fn.orZero)
    await run(flow(), { store }).result
    expect(await look(flow())).toEqual({ outdated: ['bad', 'end'], isSettled: false })
  })
})

describe('a settled graph is looked at again', () => {
  it.each<[string, Parts, readonly string[]]>([
    ['a plain input', { length: 4 }, ['numbers', 'squares', 'sum', 'end']],
    ['a version', { version: 2 }, ['sum', 'end']],
    ['an input of the last target', { factor: 3 }, ['end']],
  ])('after a change of %s', async (_what, parts, changed) => {
    await run(flow().all, { store }).result
    expect(await look(flow(parts).all)).toEqual({ outdated: changed, isSettled: false })
  })

  it('after a change of a function, of an option or of a link', async () => {
    const one = () => target('one', [1], fn.square)
    const two = () => target('two', [2], fn.square)
    await run(target('end', [one(), two()], fn.parameters), { store }).result
    const changed = [
      target('end', [two(), one()], fn.parameters),
      target('end', [one(), two()], fn.product),
      target('end', [one(), two(), 3], fn.parameters),
      target('end', [{ of: one() }, two()], fn.parameters),
      target('end', [[one()], two()], fn.parameters),
      target('end', [one(), two()], fn.parameters, { version: 1 }),
      target('end', [one(), two()], fn.parameters, { version: '1' }),
    ]
    for (const each of changed) {
      expect(await look(each)).toEqual({ outdated: ['end'], isSettled: false })
    }
  })

  it('after a change of a file', async () => {
    const path = join(directory, 'in.txt')
    await writeFile(path, 'four')
    await run(flow({ path }).all, { store }).result
    await writeFile(path, 'five')
    expect(await look(flow({ path }).all)).toEqual({ outdated: ['size'], isSettled: false })
    await rm(path)
    expect(await refusal(outdated(flow({ path }).all, { store }))).toMatchObject({ code: 'ENOENT' })
  })

  it('after a removal', async () => {
    await run(flow().numbers, { store }).result
    const id = await onlyResult()
    await openCache(store).results.remove(id)
    expect(await look(flow().numbers)).toEqual({ outdated: ['numbers'], isSettled: false })
  })

  it('after a removal of which the results do not tell, since there are others', async () => {
    await run(flow().numbers, { store }).result
    const id = await onlyResult()
    await openCache(store).results.remove(id)
    await run(target('other', [1], fn.text), { store, flow: 'other' }).result
    expect(await look(flow().numbers)).toEqual({ outdated: ['numbers'], isSettled: false })
  })

  it('after an eviction', async () => {
    await run(flow().numbers, { store }).result
    await openCache(store).layers.configure('main', { keepResults: 0 })
    expect(await evict(store, store.leases, 'main')).toBe(1)
    await openCache(store).layers.configure('main', { keepResults: null })
    await run(target('other', [1], fn.text), { store, flow: 'other' }).result
    expect(await look(flow().numbers)).toEqual({ outdated: ['numbers'], isSettled: false })
  })

  it('after a rerun with another result', async () => {
    const drawn = () => target('end', [target('drawn', [], fn.drawn)], fn.orZero)
    await run(drawn(), { store }).result
    expect(await look(drawn())).toEqual(settled)
    await run(target('drawn', [], fn.drawn), { store, rerun: ['drawn'], flow: 'other' }).result
    expect(await look(drawn())).toEqual({ outdated: ['end'], isSettled: false })
  })

  it('after its layer was made anew', async () => {
    const { layers } = openCache(store)
    await layers.create('pr')
    await run(flow().numbers, { store, layer: 'pr' }).result
    expect(await look(flow().numbers, 'pr')).toEqual(settled)
    await layers.remove('pr')
    await layers.create('pr')
    await run(target('other', [1], fn.text), { store, flow: 'other', layer: 'pr' }).result
    expect(await look(flow().numbers, 'pr')).toEqual({ outdated: ['numbers'], isSettled: false })
  })

  it('after a result in its layer that hides one of the parent', async () => {
    const drawn = () => target('end', [target('drawn', [], fn.drawn)], fn.orZero)
    await run(drawn(), { store }).result
    await openCache(store).layers.create('pr', { parent: 'main' })
    await run(drawn(), { store, layer: 'pr' }).result
    expect(await look(drawn(), 'pr')).toEqual(settled)
    await run(target('drawn', [], fn.drawn), { store, layer: 'pr', rerun: ['drawn'] }).result
    expect(await look(drawn(), 'pr')).toEqual({ outdated: ['end'], isSettled: false })
    expect((await look(drawn())).outdated).toEqual([])
  })

  it('if nobody can read what was settled', async () => {
    await run(flow().numbers, { store }).result
    const scope = { namespace: 'flow-main' }
    const [key] = (await store.list('settled', scope)).entries
    for (const value of ['no packed value', new Uint8Array([0x91, 0x00])]) {
      await store.put(`settled/${key?.name}`, value, scope)
      expect(await look(flow().numbers)).toEqual({ outdated: [], isSettled: false })
    }
  })

  it('after its keys were unlinked by other means', async () => {
    await run(flow().numbers, { store }).result
    const id = await onlyResult()
    await unlink(store, `results/${id}`, 'cache-main')
    expect(await look(flow().numbers)).toEqual({ outdated: ['numbers'], isSettled: false })
  })
})

it('a removal while a run goes on leaves its graph unsettled', async () => {
  const gate = deferred<void>()
  fn.gate.wait = gate.promise
  const graph = () => [flow().numbers, target('held', [], fn.held)]
  const running = run(graph(), { store })
  for await (const { type, target } of running) {
    if (type === 'finish' && target === 'numbers') break
  }
  const id = await onlyResult()
  await openCache(store).results.remove(id)
  gate.resolve()
  await running.result
  expect(await look(graph())).toEqual({ outdated: ['numbers'], isSettled: false })
})

it('a file that changes while a run goes on leaves its graph unsettled', async () => {
  const path = join(directory, 'in.txt')
  await writeFile(path, 'four')
  const gate = deferred<void>()
  fn.gate.wait = gate.promise
  const graph = () => {
    const early = target('early', [file(path), null], fn.sizeOfFile)
    return [early, target('late', [file(path), target('held', [], fn.held)], fn.parameters)]
  }
  const running = run(graph(), { store })
  for await (const { type, target } of running) if (type === 'finish' && target === 'early') break
  await writeFile(path, 'others')
  gate.resolve()
  await running.result
  expect(await look(graph())).toEqual({ outdated: ['early'], isSettled: false })
})

it('a look that is canceled says so', async () => {
  await run(flow().all, { store }).result
  const signal = AbortSignal.abort()
  expect(await refusal(outdated(flow().all, { store, signal }))).toMatchObject({
    code: 'ECANCELED',
  })
})

it('a look finds the same, whether a graph is settled or not', async () => {
  const changes = fc.array(
    fc.record({ kind: fc.constantFrom('version', 'remove', 'rerun', 'run'), at: fc.nat() }),
    { minLength: 1, maxLength: 6 },
  )
  await fc.assert(
    fc.asyncProperty(randomFlow, changes, async (drawn, changed) => {
      await using store = await open()
      const versions = new Map<number, number>()
      const flow = () => targetsOf(drawn, versions)
      await run(flow(), { store }).result
      for (const { kind, at } of changed) {
        const place = at % drawn.targets.length
        if (kind === 'version') versions.set(place, (versions.get(place) ?? 0) + 1)
        else if (kind === 'run') await run(flow(), { store }).result
        else if (kind === 'rerun') {
          const names = [`t${place}`].filter((name) => foundNames(drawn).has(name))
          await run(flow(), { store, rerun: names }).result
        } else {
          const { results } = openCache(store)
          const all = (await results.list()).results
          const one = all[at % Math.max(1, all.length)]
          if (one) await results.remove(one.id)
        }
        const found = await outdated(flow(), { store })
        await unlink(store, 'settled', 'flow-main')
        expect(found).toEqual(await outdated(flow(), { store }))
        // A run that finds all settles the graph again.
        if (found.length === 0) await run(flow(), { store }).result
      }
    }),
    { numRuns: 15 },
  )
})

/** The names of all targets that a run of a flow makes. */
function foundNames({ targets, wanted }: RandomFlow): ReadonlySet<string> {
  const found = new Set<number>(wanted)
  for (const at of found) for (const source of targets[at]?.sources ?? []) found.add(source)
  return new Set([...found].map((at) => `t${at}`))
}

function targetsOf({ targets, wanted }: RandomFlow, versions: ReadonlyMap<number, number>) {
  const all: Target<number>[] = []
  for (const [index, { sources }] of targets.entries()) {
    const inputs = sources.flatMap((source) => all[source] ?? [])
    const version = versions.get(index) ?? 0
    all.push(target(`t${index}`, [index, version, inputs], fn.mixed))
  }
  return wanted.flatMap((at) => all[at] ?? [])
}

describe('the states of layers', () => {
  const state: LayerState = { layer: 'main', removals: 'a', results: 3, ref: '' }

  it.each<[string, readonly LayerState[], boolean]>([
    ['the same', [state], true],
    ['more results', [{ ...state, results: 4 }], true],
    ['fewer results', [{ ...state, results: 2 }], false],
    ['a removal', [{ ...state, removals: 'b' }], false],
    ['another layer', [{ ...state, layer: 'pr' }], false],
    ['another ref', [{ ...state, ref: 'blake3-1' }], false],
    ['one more', [state, state], false],
    ['none', [], false],
  ])('%s', (_what, now, areKept) => {
    expect(areKeptIn(now, [state])).toBe(areKept)
  })
})
