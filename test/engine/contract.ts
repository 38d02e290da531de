/** What every engine promises (rfc/4, rules 1 to 11), each kind tested by the same claims, plain and
 *  through the flaky wrapper. */

import { afterEach, describe, expect, test } from 'vitest'
import type { Environment } from '../../src/base/environment.js'
import type { Engine } from '../../src/engine/engine.js'
import { TestClock } from '../clock.js'
import { collectionClaims } from './contract-collection.js'
import { commitClaims } from './contract-commits.js'
import { rewriteClaims } from './contract-rewrite.js'
import { rootClaims } from './contract-roots.js'
import { advance, blobOf, collect, historyOf, make } from './fixture.js'
import { FlakyEngine } from './flaky.js'

export type Made = { readonly engine: Engine; readonly clean: () => Promise<void> }
export type MakeEngine = (environment: Environment) => Promise<Made>

export function engineContract(name: string, makeEngine: MakeEngine): void {
  describe(name, () => suite(makeEngine))
  describe(`${name}, flaky`, () => {
    suite(async (environment) => {
      const { engine, clean } = await makeEngine(environment)
      return { engine: new FlakyEngine(engine, { seed: 7 }), clean }
    })
    test('faults lose no commit and double none', () => lossless(makeEngine))
  })
}

function suite(makeEngine: MakeEngine): void {
  const opened: Made[] = []
  const clock = new TestClock()
  const open = async () => {
    const made = await makeEngine(clock)
    opened.push(made)
    return made.engine
  }
  afterEach(async () => {
    for (const { engine, clean } of opened.splice(0)) {
      await engine[Symbol.asyncDispose]()
      await clean()
    }
  })

  commitClaims(open)
  rootClaims(open, clock)
  rewriteClaims(open)
  collectionClaims(open, clock)
}

/** Four writers on their own namespaces, at a rate of faults of one in two. */
async function lossless(makeEngine: MakeEngine): Promise<void> {
  const { engine, clean } = await makeEngine(new TestClock())
  const flaky = new FlakyEngine(engine, { seed: 20_240_229, rate: 0.5 })
  try {
    const write = async (name: string) => {
      let head = await make(flaky, name)
      for (let i = 1; i <= 50; i++) head = await advance(flaky, head, `${name}/${i}`)
    }
    const names = ['a', 'b', 'c', 'd']
    await Promise.all(names.map(write))
    expect(flaky.faults).toBeGreaterThan(50)
    for (const name of names) {
      const expected = Array.from({ length: 50 }, (_, i) => `${name}/${i + 1}`)
      expect(await historyOf(engine, name, 0)).toEqual(expected)
      const roots = await collect(engine.history(name, 0))
      const blobs = await engine.load(roots.map(({ ref }) => ref))
      expect(blobs.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(roots.map(({ ref }) => ref))
    }
  } finally {
    await flaky[Symbol.asyncDispose]()
    await clean()
  }
}
