/** What is drawn at random for the whole of a store: see kvs-model.test.ts. */

import fc from 'fast-check'
import type { Life, ModelOp, SpaceName } from './kvs-model.js'

const key = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3, size: 'xsmall' })
  .map((parts) => parts.join('/'))
const keyOrRoot = fc.oneof({ weight: 9, arbitrary: key }, { weight: 1, arbitrary: fc.constant('') })
const value = fc.oneof(
  { weight: 9, arbitrary: fc.string({ maxLength: 6, unit: fc.constantFrom('x', 'y') }) },
  { weight: 1, arbitrary: fc.constant('long '.repeat(60)) },
)
const flag = fc.boolean()
const life = fc.constantFrom<Life>('fixed', 'sliding')
/** Counts back from the newest root that is known. */
const back = fc.nat(4)
const space = fc.constantFrom<SpaceName>('primary', 'primary', 'other')
const small = fc.nat(3)
const producer = fc.record({
  id: fc.constantFrom('p', 'q'),
  epoch: fc.nat(1),
  seq: fc.nat(2),
})

/** As the model has them, but that what is drawn is not known yet: trees by how far back, tokens by
 *  which of those that were given. */
export type Drawn = {
  readonly namespace: SpaceName
  readonly guards: readonly Record<string, unknown>[]
  readonly ops: readonly (Record<string, unknown> & { readonly op: ModelOp['op'] })[]
  /** Sent beside the one before it, in the same namespace. */
  readonly beside: boolean
  readonly once?: string | undefined
  readonly after: 'nothing' | 'collect' | 'reopen' | 'wait' | 'pin'
}

const op = <Name extends ModelOp['op'], Rest>(
  name: Name,
  weight: number,
  rest: { [K in keyof Rest]: fc.Arbitrary<Rest[K]> },
) => ({ weight, arbitrary: fc.record({ op: fc.constant(name), ...rest }) })

const ops = fc.array(
  fc.oneof(
    op('put', 3, { key, value }),
    op('put', 1, { key, value, life }),
    op('append', 1, { key, value, life }),
    op('treeobj', 2, { key, from: keyOrRoot, at: back }),
    op('append', 4, { key, value, seal: fc.constantFrom(false, false, false, true) }),
    op('append', 2, { key, value, producer }),
    op('seal', 1, { key }),
    op('mkdir', 1, { key }),
    op('trim', 1, { key, before: small }),
    op('trim', 1, { key, keep: small }),
    op('unlink', 2, { key, recursive: flag }),
    op('symlink', 2, { key, target: key }),
    op('copy', 2, { from: keyOrRoot, key: keyOrRoot, replace: flag }),
    op('copy', 1, { from: keyOrRoot, key, replace: flag, at: back }),
    op('copy', 1, { from: keyOrRoot, key, replace: flag, namespace: space }),
    op('move', 2, { from: keyOrRoot, key: keyOrRoot, replace: flag }),
    op('move', 1, { from: key, key, replace: flag, namespace: space }),
    op('fork', 1, { from: key, key, count: small }),
    op('restore', 2, { key: keyOrRoot, at: back }),
    op('lease', 1, { key, action: fc.constant('take') }),
    op('lease', 1, { key, action: fc.constantFrom('renew', 'release'), token: small }),
  ),
  { maxLength: 4 },
)
const guards = fc.oneof(
  { weight: 3, arbitrary: fc.constant([]) },
  {
    weight: 1,
    arbitrary: fc.array(
      fc.oneof(
        fc.record({ key, absent: fc.constant(true) }),
        fc.record({ key, count: small }),
        fc.record({ key, same: back }),
        fc.record({ seq: fc.nat(8) }),
        fc.record({ lease: key, token: small }),
        fc.record({ key, producer: fc.constant('p'), epoch: fc.nat(1), next: fc.nat(2) }),
      ),
      { maxLength: 2 },
    ),
  },
)
export const history = fc.array(
  fc.record({
    namespace: space,
    guards,
    ops,
    beside: flag,
    once: fc.constantFrom(undefined, undefined, undefined, 'one', 'two'),
    after: fc.constantFrom('nothing', 'nothing', 'collect', 'reopen', 'wait', 'wait', 'pin'),
  }),
  { maxLength: 16 },
) as fc.Arbitrary<Drawn[]>

/** What a namespace has before anything is drawn, so that most of what is drawn meets something. */
export const begin: Drawn['ops'] = [
  { op: 'put', key: 'a', value: 'one' },
  { op: 'append', key: 'b', value: 'two' },
  { op: 'append', key: 'b', value: 'three' },
  { op: 'put', key: 'c/a', value: 'four' },
  { op: 'symlink', key: 'c/b', target: 'b' },
  { op: 'append', key: 'c/c/a', value: 'five' },
]
