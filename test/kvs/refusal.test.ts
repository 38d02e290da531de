/** A transaction that is refused hears why only when all that it saw is durable: its error holds the state
 *  that it met, and nobody is told of what a crash could take back. See rfc/17. Found by test/proof/kill. */

import { setImmediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Outcome, Part } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TailraceError } from '../../src/error.js'
import { openOn } from '../../src/open.js'
import { refusal } from './expect.js'

/** A memory engine whose commits wait, and may fail, as a test says. */
class HeldEngine extends MemoryEngine {
  #gate: Deferred<'store' | 'fail'> | undefined
  #arrived = deferred<void>()

  hold(): void {
    this.#gate = deferred()
    this.#arrived = deferred()
  }

  get arrived(): Promise<void> {
    return this.#arrived.promise
  }

  release(how: 'store' | 'fail'): void {
    this.#gate?.resolve(how)
    this.#gate = undefined
  }

  override async commit(parts: readonly Part[]): Promise<Outcome[]> {
    this.#arrived.resolve()
    if ((await this.#gate?.promise) !== 'fail') return super.commit(parts)
    const error = new TailraceError('ENOSPC', 'full')
    return parts.map(() => ({ status: 'unavailable', applied: 'no', error }))
  }
}

async function held() {
  const engine = new HeldEngine(systemEnvironment)
  const store = await openOn(engine)
  const said: string[] = []
  const say = (name: string, call: Promise<unknown>) =>
    call.then(
      () => said.push(`${name} done`),
      (error: TailraceError) => said.push(`${name} ${error.code}`),
    )
  return { engine, store, said, say, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
}

it('a guard that met what its own group did is answered with the group', async () => {
  await using all = await held()
  const { engine, store, said, say } = all
  engine.hold()
  const guards = [{ key: 'a', absent: true }] as const
  const first = say('first', store.put('a', '1'))
  const second = say('second', store.put('a', '2', { guards }))
  const third = say('third', store.append('a/b', '3'))
  await engine.arrived
  await setImmediate()
  expect(said).toEqual([])
  expect(await store.get('a')).toBeUndefined()
  engine.release('store')
  await Promise.all([first, second, third])
  expect(said).toEqual(['first done', 'second ECONFLICT', 'third ENOTDIR'])
})

it('one that met what is durable is answered at once', async () => {
  await using all = await held()
  const { engine, store, said, say } = all
  await store.put('a', '1')
  engine.hold()
  const refused = refusal(store.put('a', '2', { guards: [{ key: 'a', absent: true }] }))
  const second = say('second', store.put('b', '3'))
  expect(await refused).toMatchObject({ code: 'ECONFLICT' })
  await engine.arrived
  expect(said).toEqual([])
  engine.release('store')
  await second
})

it('one whose group was not stored is judged again, and may then hold', async () => {
  await using all = await held()
  const { engine, store, said, say } = all
  engine.hold()
  const guards = [{ key: 'a', absent: true }] as const
  const calls = [
    say('first', store.put('a', '1')),
    say('second', store.put('a', '2', { guards })),
    say('third', store.put('a', '3', { guards })),
  ]
  await engine.arrived
  engine.release('fail')
  await Promise.all(calls)
  expect(said).toEqual(['first ENOSPC', 'second done', 'third ECONFLICT'])
  expect(Buffer.from((await store.get('a')) ?? []).toString()).toBe('2')
  expect((await store.root()).seq).toBe(1)
})
