/** Random appends, puts, trims, unlinks and seals, with watchers that begin at any moment and any index, on a
 *  plain engine and on a flaky one: each gets exactly what the simplest model says. See rfc/7. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Op } from '../../src/api/transaction.js'
import type { Watching } from '../../src/api/watch.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Engine } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { toTailraceError } from '../../src/error.js'
import { openOn } from '../../src/open.js'
import { FlakyEngine } from '../engine/flaky.js'

type Step =
  | { readonly do: 'append'; readonly key: string; readonly values: readonly string[] }
  | { readonly do: 'put'; readonly key: string; readonly value: string }
  | { readonly do: 'unlink' | 'seal'; readonly key: string }
  | { readonly do: 'trim'; readonly key: string; readonly keep: number }
  | { readonly do: 'watch'; readonly key: string; readonly from: number }

const keys = ['a', 'b']
const value = fc.constantFrom('x', 'y', '')
const key = fc.constantFrom(...keys)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      key,
      values: fc.array(value, { minLength: 1, maxLength: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('put' as const), key, value }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('unlink' as const, 'seal' as const), key }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('trim' as const), key, keep: fc.nat({ max: 4 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('watch' as const), key, from: fc.nat({ max: 4 }) }),
  },
)

/** One history of a key: it grows until it is sealed or ends. What is below `base` was dropped. */
type History = { blobs: string[]; base: number; sealed: boolean; inline: boolean; error?: string }

/** What a watcher is to be told, `from` an index of a history, or why there is none. */
function expected(history: History | undefined, from: number): string[] {
  if (!history) return ['ENOENT']
  const blobs = history.blobs.slice(from).map((blob, at) => `${from + at}:${blob}`)
  if (history.sealed) return [...blobs, 'end']
  return history.error ? [...blobs, history.error] : blobs
}

/** Whether that was told, and nothing is to come. A trim may overtake a watcher: it is told so when what
 *  comes next was dropped. */
function agree(told: readonly string[], history: History | undefined, from: number): boolean {
  const said = told.filter((each) => each !== 'live')
  const wanted = expected(history, from)
  const overtaken = said.at(-1) === 'ECOMPACTED'
  const begun = overtaken ? said.slice(0, -1) : said
  if (!begun.every((each, at) => each === wanted[at])) return false
  if (overtaken) return history !== undefined && from + begun.length < history.base
  return begun.length === wanted.length
}

class Model {
  readonly #histories = new Map<string, History>()

  at(key: string): History | undefined {
    return this.#histories.get(key)
  }

  /** The ops of a step, undefined where it would be refused. */
  apply(step: Exclude<Step, { readonly do: 'watch' }>): Op[] | undefined {
    const { key } = step
    const history = this.#histories.get(key)
    switch (step.do) {
      case 'append':
        if (history?.sealed) return undefined
        if (history) history.blobs.push(...step.values)
        else
          this.#histories.set(key, {
            blobs: [...step.values],
            base: 0,
            sealed: false,
            inline: false,
          })
        if (history) history.inline = false
        return step.values.map((each) => ({ op: 'append', key, value: each }))
      case 'put': {
        const same =
          history?.inline && history.blobs.length === 1 && history.blobs[0] === step.value
        if (!same) {
          this.#end(key, 'EOVERWRITTEN')
          this.#histories.set(key, { blobs: [step.value], base: 0, sealed: false, inline: true })
        }
        return [{ op: 'put', key, value: step.value }]
      }
      case 'unlink':
        this.#end(key, 'ENOENT')
        return [{ op: 'unlink', key }]
      case 'trim': {
        if (!history) return undefined
        const base = Math.max(history.base, history.blobs.length - step.keep)
        if (base > history.base) history.inline = false
        history.base = base
        return [{ op: 'trim', key, keep: step.keep }]
      }
      case 'seal':
        if (!history || history.sealed) return undefined
        history.sealed = true
        history.inline = false
        return [{ op: 'seal', key }]
      default:
        return step satisfies never
    }
  }

  #end(key: string, error: string): void {
    const history = this.#histories.get(key)
    if (history) history.error = error
    this.#histories.delete(key)
  }
}

async function agrees(engine: Engine, steps: readonly Step[]): Promise<void> {
  await using store = await openOn(engine)
  const model = new Model()
  const watches: {
    told: string[]
    over: Promise<void>
    end: () => unknown
    history: History | undefined
    from: number
    /** It begins below what was dropped by then. */
    below: boolean
  }[] = []
  for (const each of steps) {
    if (each.do !== 'watch') {
      const ops = model.apply(each)
      if (ops) await store.commit({ ops })
      continue
    }
    const told: string[] = []
    const watching = store.watch(each.key, { mode: 'append', from: each.from })
    const over = collect(watching, told)
    watches.push({
      told,
      over,
      end: () => watching.return?.(),
      history: model.at(each.key),
      from: each.from,
      below: each.from < (model.at(each.key)?.base ?? 0),
    })
    await begun(told)
  }
  for (const { told, over, end, history, from, below } of watches) {
    await expect.poll(() => agree(told, history, from), { message: told.join(' ') }).toBe(true)
    await end()
    await over
    expect(agree(told, history, from)).toBe(true)
    if (below) expect(told).toEqual(['ECOMPACTED'])
    const lives = told.filter((each) => each === 'live').length
    if (told.at(-1) === 'ECOMPACTED') expect(lives).toBeLessThan(2)
    else expect(lives).toBe(history ? 1 : 0)
  }
  expect(store.watchers).toBe(0)
}

/** The first thing that a watch is told says that it has begun. */
async function begun(told: readonly string[]): Promise<void> {
  await expect.poll(() => told.length, { interval: 1 }).toBeGreaterThan(0)
}

async function collect(watching: Watching, told: string[]): Promise<void> {
  try {
    for await (const event of watching) {
      if (event.type === 'append') told.push(`${event.index}:${Buffer.from(event.data)}`)
      else told.push(event.type)
    }
  } catch (error) {
    told.push(toTailraceError(error).code)
  }
}

describe('watchers agree with the model', () => {
  const steps = fc.array(step, { maxLength: 30 })

  it('on a plain engine', () =>
    fc.assert(
      fc.asyncProperty(steps, (all) => agrees(new MemoryEngine(systemEnvironment), all)),
      { numRuns: 50 },
    ))

  it('on a flaky engine', () =>
    fc.assert(
      fc.asyncProperty(steps, fc.integer(), (all, seed) =>
        agrees(new FlakyEngine(new MemoryEngine(systemEnvironment), { seed }), all),
      ),
      { numRuns: 30 },
    ))
})
