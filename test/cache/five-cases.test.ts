/** The five cases of a shared cache, each in separate processes and at each point where the order could matter: two
 *  writers; a write, then many reads; a write after a read; a removal, then a read; a removal during a read. The points are
 *  the crossings of process a, as they are counted in a run that nobody disturbs. One judge says for all of them what is
 *  right (judge.ts). See rfc/22. */

import { beforeAll, describe, expect, it } from 'vitest'
import { bundledPrograms } from '../support/programs.js'
import { type Act, type Name, type Requests, type Run, type Scene, Stage } from './stage.js'

const programs = bundledPrograms({
  server: 'test/client/server-child.ts',
  acting: 'test/cache/acting.ts',
})

/** Two sizes of results that are stored before they are published: as a stream, and as bytes. */
const [streamed, large] = [600_000, 4_500_000]

const both: readonly Requests[] = ['socket', 'http']

const one = (by: Name, call: Act['call']): Act => ({ by: [by], call })
const many = (call: Act['call']): Act => ({ by: ['b', 'c'], call, times: 2 })

/** The scenes of each case. `ways`: how a sends its small requests; default: over its websocket. */
const cases: Readonly<
  Record<string, Readonly<Record<string, Scene & { readonly ways?: readonly Requests[] }>>>
> = {
  'two writers': {
    'both compute': {
      ways: both,
      a: 'cached',
      meanwhile: [[one('b', 'cached')]],
      mayWait: true,
    },
    'both publish streams': {
      size: streamed,
      a: 'publish',
      meanwhile: [[one('b', 'publish')]],
      mayWait: true,
    },
    'the second waits for the first, who publishes': {
      ways: both,
      holder: 'publishes',
      a: 'cached',
      meanwhile: [[one('c', 'cached')]],
    },
    'the second waits for the first, who fails': {
      holder: 'fails',
      a: 'cached',
      meanwhile: [[one('c', 'cached')]],
      mayWait: true,
    },
    'both run it again': {
      before: true,
      a: 'rerun',
      meanwhile: [[one('b', 'rerun')]],
      mayWait: true,
    },
    'and the result goes before the second has it': {
      a: 'cached',
      meanwhile: [[one('b', 'cached')], [one('c', 'remove')]],
      mayWait: true,
    },
  },
  'a write, then many reads': {
    'the readers wait for the writer': {
      size: streamed,
      a: 'publish',
      meanwhile: [[many('publish')]],
      mayWait: true,
    },
    'the readers do not wait for each other': {
      size: streamed,
      before: true,
      a: 'publish',
      meanwhile: [[many('publish')]],
    },
    'a reader that has waited does not hold up others': {
      size: 300_000,
      holder: 'publishes',
      a: 'publish',
      meanwhile: [[many('cached')]],
    },
  },
  'a write after a read': {
    'the writers find the result': {
      ways: both,
      size: streamed,
      before: true,
      a: 'load',
      meanwhile: [[one('b', 'cached'), one('c', 'publish')]],
    },
    'the writer is slow, and finds the result': {
      before: true,
      a: 'cached',
      meanwhile: [[one('b', 'load')]],
    },
    'the writer replaces the result': {
      size: streamed,
      before: true,
      a: 'load',
      meanwhile: [[one('b', 'rerun'), one('c', 'load')]],
    },
    'the writer is slow, and replaces the result': {
      before: true,
      a: 'rerun',
      meanwhile: [[one('b', 'load'), one('c', 'cached')]],
    },
  },
  'a removal, then a read': {
    'the removal is slow': {
      ways: both,
      before: true,
      a: 'remove',
      meanwhile: [[one('b', 'load'), one('c', 'cached')]],
    },
    'the read is slow': {
      before: true,
      a: 'load',
      meanwhile: [[one('b', 'remove'), one('c', 'load')]],
    },
    'the claim is slow': {
      before: true,
      a: 'cached',
      meanwhile: [[one('b', 'remove'), one('c', 'load')]],
    },
    'there was nothing to remove': { a: 'cached', meanwhile: [[one('b', 'remove')]] },
    'two removals': { before: true, a: 'remove', meanwhile: [[one('b', 'remove')]] },
    'the result is replaced during the removal': {
      before: true,
      a: 'remove',
      meanwhile: [[one('b', 'rerun')], [one('c', 'cached')]],
    },
    'the result is removed while it is replaced': {
      before: true,
      a: 'rerun',
      meanwhile: [[one('b', 'remove')], [one('c', 'load')]],
    },
  },
  'a removal during a read': {
    'of a stream': {
      ways: both,
      size: streamed,
      before: true,
      a: 'load',
      meanwhile: [[one('b', 'remove'), 'collect', one('c', 'load')]],
    },
    'of a claim, and another result is written': {
      size: streamed,
      before: true,
      a: 'publish',
      meanwhile: [[one('b', 'remove'), one('c', 'cached'), 'collect']],
      mayWait: true,
    },
    'of a whole value': {
      size: 300_000,
      before: true,
      a: 'cached',
      meanwhile: [[one('b', 'remove'), 'collect']],
    },
  },
}

/** The scenes of a process that writes, and is held at each of its points. */
const writing: readonly Scene[] = [
  { a: 'cached', meanwhile: [], mayWait: true },
  { holder: 'publishes', a: 'cached', meanwhile: [] },
  { before: true, a: 'rerun', meanwhile: [] },
]
/** Those of a process whose server is killed: a stream is not sent again, and a removal and a read are not either. */
const served: readonly Scene[] = [
  ...writing,
  { size: large, a: 'cached', meanwhile: [], mayWait: true },
]
/** Those of a process that is killed or stopped itself. */
const alone: readonly Scene[] = [
  ...writing,
  { size: streamed, a: 'publish', meanwhile: [] },
  { before: true, a: 'remove', meanwhile: [] },
  { size: streamed, before: true, a: 'load', meanwhile: [] },
]
/** The ttl of a holder that does not renew its lease, in ms. */
const ttl = 2_000
/** The errors of a publish whose claim was lost. */
const lost = ['EFENCED', 'EUNKNOWN']

let stage: Stage
beforeAll(async () => {
  stage = await Stage.start(programs)
  return () => stage[Symbol.asyncDispose]()
})

/** Returns the number of points of a scene: the crossings of a that nobody disturbs. */
async function pointsOf(scene: Scene, requests: Requests): Promise<number> {
  const run = await stage.run(scene, 0, { requests })
  await run.stand(Number.POSITIVE_INFINITY)
  const { length } = run.crossed
  expect(await stage.judge([run])).toEqual([])
  expect(length).toBeGreaterThanOrEqual(2)
  return length
}

/** Returns a run for each point of scenes, in which a stands there. With a `ttl` it may lose its claim. */
async function standing(scenes: readonly Scene[], ttl?: number): Promise<readonly Run[]> {
  const points: { readonly scene: Scene; readonly after: number }[] = []
  for (const scene of scenes) {
    const count = await pointsOf(scene, 'socket')
    points.push(...Array.from({ length: count }, (_, after) => ({ scene, after })))
  }
  const options = ttl === undefined ? {} : { ttl }
  const runs = await Promise.all(points.map(({ scene }, lane) => stage.run(scene, lane, options)))
  const places = await Promise.all(
    points.map(({ scene, after }, at) => {
      // Only who holds the claim itself is told that it was lost.
      const isTold = ttl !== undefined && scene.a !== 'cached'
      return runs[at]?.stand(after, isTold ? lost : [])
    }),
  )
  // On a slow machine a loses its claim before all the others stand, and goes another way.
  const standing = runs.filter((_, at) => places[at] !== undefined)
  expect(standing.length).toBeGreaterThan(runs.length / 2)
  return standing
}

describe.each(Object.keys(cases))('%s', (name) => {
  const scenes = Object.entries(cases[name] ?? {}).flatMap(([what, scene]) =>
    (scene.ways ?? ['socket']).map((requests) => ({ what, requests, scene })),
  )

  it.each(scenes)('$what, over $requests', async ({ scene, requests }) => {
    const points = await pointsOf(scene, requests)
    const [first = [], second] = scene.meanwhile
    const runs: Run[] = []
    let missed = 0
    /** Holds a at one point, or at that one and so many crossings later; returns if there are as many. */
    const play = async (lane: number, further?: number) => {
      const run = await stage.run(scene, lane, { requests })
      runs.push(run)
      // Pieces that come together are one crossing, so that a run may have fewer than another.
      if ((await run.stand(lane)) === undefined) missed++
      await run.meanwhile(first)
      const isThere = further !== undefined && (await run.stand(further)) !== undefined
      if (isThere) await run.meanwhile(second ?? [])
      await run.end()
      return isThere
    }
    const lanes = Array.from({ length: points }, async (_, lane) => {
      for (let further = 0; await play(lane, second && further); further++);
    })
    await Promise.all(lanes)
    expect(missed).toBeLessThan(points / 2)
    expect(await stage.judge(runs)).toEqual([])
  })
})

describe('at each of its points', () => {
  const act = one('b', 'cached')

  it('the server is killed, and another one started: the claim goes on', async () => {
    const runs = await standing(served)
    await stage.restartServer()
    await Promise.all(runs.map((run) => run.meanwhile([act])))
    await Promise.all(runs.map((run) => run.goOn()))
    expect(await stage.judge(runs)).toEqual([])
  })

  it('a process is stopped past its lease, and goes on: it does not undo what others did', async () => {
    const runs = await standing(alone, ttl)
    stage.actors.a.stop()
    for (const run of runs) run.stopped()
    await Promise.all(runs.map((run) => run.toTheEnd(act)))
    await Promise.all(runs.map((run) => run.goOn()))
    stage.actors.a.goOn()
    expect(await stage.judge(runs)).toEqual([])
  })

  it('a process is killed: what it had sent may still arrive, and others do not wait for it', async () => {
    const runs = await standing(alone, ttl)
    await stage.replaceA()
    for (const run of runs) run.killed()
    await Promise.all(runs.map((run) => run.toTheEnd(act)))
    await Promise.all(runs.map((run) => run.goOn()))
    expect(await stage.judge(runs)).toEqual([])
  })
})
