/** The checker of single keys: right histories pass, wrong ones do not, and on small ones it agrees with
 *  trying every order. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkLinearizable, type Timed } from './linearizable.js'
import { type Contents, type KeyOp, keyModel, type PutOp } from './register.js'

type History = readonly Timed<KeyOp>[]

const isRight = (history: History) => checkLinearizable(keyModel, history).linearizable

const op = (start: number, end: number, what: KeyOp): Timed<KeyOp> => ({
  op: what,
  start,
  end,
  unknown: false,
})
const lost = (start: number, what: KeyOp, end = Number.POSITIVE_INFINITY): Timed<KeyOp> => ({
  op: what,
  start,
  end,
  unknown: true,
})
const put = (text: string): PutOp => ({ type: 'put', text })
const append = (text: string, index: number): KeyOp => ({
  type: 'append',
  text,
  answer: { index, count: index + 1 },
})
const read = (sees: string | undefined): KeyOp => ({ type: 'read', sees })
const unlink: KeyOp = { type: 'unlink' }
const absent = { absent: true, count: 0 }

describe('right histories', () => {
  it.each<[string, History]>([
    ['nothing', []],
    ['one after the other', [op(0, 1, put('a')), op(2, 3, read('a')), op(4, 5, unlink)]],
    ['a read beside a put sees either', [op(0, 9, put('a')), op(1, 2, read(undefined))]],
    ['the other', [op(0, 9, put('a')), op(1, 2, read('a'))]],
    [
      'two puts side by side, in either order',
      [op(0, 9, put('a')), op(0, 9, put('b')), op(10, 11, read('a'))],
    ],
    ['an unknown put that was done', [lost(0, put('a')), op(5, 6, read('a'))]],
    ['and one that was not', [lost(0, put('a')), op(5, 6, read(undefined))]],
    [
      'and one that was done late',
      [lost(0, put('a')), op(5, 6, read(undefined)), op(7, 8, read('a'))],
    ],
    [
      'an unknown put that was done before its last moment',
      [lost(0, put('a'), 4), op(5, 6, read('a')), op(7, 8, put('b')), op(9, 10, read('b'))],
    ],
    [
      'a guard that met what was there',
      [
        op(0, 1, put('a')),
        op(2, 3, { ...put('b'), expects: null, refused: { absent: false, count: 1, text: 'a' } }),
        op(4, 5, { ...put('c'), expects: 'a', refused: false }),
        op(6, 7, read('c')),
      ],
    ],
    [
      'an unknown guarded put that could not have been done',
      [op(0, 1, put('a')), lost(2, { type: 'put', text: 'b', expects: null }), op(4, 5, read('a'))],
    ],
    [
      'a log on a value',
      [op(0, 1, put('a')), op(2, 3, append('b', 1)), op(4, 5, read('ab')), op(6, 7, unlink)],
    ],
  ])('%s', (_name, history) => {
    expect(isRight(history)).toBe(true)
  })
})

describe('wrong histories', () => {
  it.each<[string, History]>([
    ['a lost acknowledgement', [op(0, 1, put('a')), op(2, 3, read(undefined))]],
    ['a stale read', [op(0, 1, put('a')), op(2, 3, put('b')), op(4, 5, read('a'))]],
    [
      'two reads that disagree on the order',
      [op(0, 9, put('a')), op(1, 2, read('a')), op(3, 4, read(undefined))],
    ],
    ['a phantom', [op(0, 1, put('a')), op(2, 3, read('x'))]],
    ['a value from the future', [op(0, 1, read('a')), op(2, 3, put('a'))]],
    [
      'an unknown put that was done, undone and done again',
      [lost(0, put('a')), op(1, 2, read('a')), op(3, 4, put('b')), op(5, 6, read('a'))],
    ],
    [
      'an unknown put that was done after its last moment',
      [lost(0, put('a'), 4), op(5, 6, read(undefined)), op(7, 8, read('a'))],
    ],
    [
      'two guards that both held',
      [
        op(0, 9, { ...put('a'), expects: null, refused: false }),
        op(0, 9, { ...put('b'), expects: null, refused: false }),
      ],
    ],
    [
      'a guard that was refused although it held',
      [op(0, 1, { ...put('a'), expects: null, refused: { absent: false, count: 1 } })],
    ],
    [
      'a guard that met another state',
      [op(0, 1, put('a')), op(2, 3, { ...put('b'), expects: 'x', refused: absent })],
    ],
    ['a duplicate append', [op(0, 1, append('a', 0)), op(2, 3, read('aa'))]],
    ['two appends with one index', [op(0, 9, append('a', 0)), op(0, 9, append('b', 0))]],
    ['a removed value that is there', [op(0, 1, put('a')), op(2, 3, unlink), op(4, 5, read('a'))]],
  ])('%s', (_name, history) => {
    expect(isRight(history)).toBe(false)
  })

  it('names the operation that no order explains, and what was there', () => {
    const history = [op(0, 1, put('a')), op(2, 3, read('x')), op(4, 5, read('a'))]
    expect(checkLinearizable(keyModel, history)).toEqual({
      linearizable: false,
      at: history[1],
      states: ['1:a'],
    })
  })
})

type Intent = {
  readonly kind: 'put' | 'absent' | 'expects' | 'append' | 'unlink' | 'read'
  readonly start: number
  readonly takes: number
  readonly effect: number
  readonly fate: 'answered' | 'done' | 'never'
}

const intents = fc.array(
  fc.record<Intent>({
    kind: fc.constantFrom('put', 'absent', 'expects', 'append', 'unlink', 'read'),
    start: fc.integer({ min: 0, max: 40 }),
    takes: fc.integer({ min: 1, max: 12 }),
    effect: fc.integer({ min: 0, max: 99 }),
    fate: fc.constantFrom('answered', 'answered', 'answered', 'done', 'never'),
  }),
  { maxLength: 30 },
)

/** A true execution: each operation takes effect at one moment of its own, on one state. */
function execute(plan: readonly Intent[]): Timed<KeyOp>[] {
  const moments = plan
    .map((intent, index) => ({
      intent,
      index,
      at: intent.start + (intent.takes * intent.effect) / 100,
    }))
    .sort((a, b) => a.at - b.at)
  let state: Contents
  let seen: string | undefined
  const history: Timed<KeyOp>[] = []
  for (const { intent, index } of moments) {
    const text = `<${index}>`
    const { start, takes, fate } = intent
    const done = (what: KeyOp, after: Contents, asked: KeyOp) => {
      if (fate !== 'never') state = after
      const answered = fate === 'answered'
      const end = answered ? start + takes : Number.POSITIVE_INFINITY
      history.push({ op: answered ? what : asked, start, end, unknown: !answered })
    }
    const before: Contents = state
    switch (intent.kind) {
      case 'put':
        done(put(text), { text, count: 1 }, put(text))
        break
      case 'absent':
      case 'expects': {
        const expects = intent.kind === 'absent' ? null : (seen ?? null)
        const holds = (expects ?? undefined) === before?.text
        const met = {
          absent: !before,
          count: before?.count ?? 0,
          ...(before && { text: before.text }),
        }
        const asked: PutOp = { type: 'put', text, expects }
        done({ ...asked, refused: holds ? false : met }, holds ? { text, count: 1 } : before, asked)
        break
      }
      case 'append': {
        const after = { text: (before?.text ?? '') + text, count: (before?.count ?? 0) + 1 }
        done(append(text, after.count - 1), after, { type: 'append', text })
        break
      }
      case 'unlink':
        done(unlink, undefined, unlink)
        break
      default:
        seen = before?.text
        if (fate === 'answered') done(read(seen), before, unlink)
    }
  }
  return history
}

/** Every order of every choice of the unknown ones. */
function isRightByForce(history: History, state: Contents = undefined): boolean {
  const firstEnd = Math.min(...history.filter((each) => !each.unknown).map(({ end }) => end))
  if (history.every(({ unknown }) => unknown)) return true
  return history.some((each, index) => {
    if (each.start > firstEnd) return false
    const stepped = keyModel.step(state, each.op)
    const rest = history.filter(
      (other, at) => at !== index && !(other.unknown && other.end < each.start),
    )
    return stepped !== undefined && isRightByForce(rest, stepped.state)
  })
}

describe('histories at random', () => {
  it('of a true execution are right, unknown ones included', () => {
    fc.assert(
      fc.property(intents, (plan) => isRight(execute(plan))),
      { numRuns: 500 },
    )
  })

  it('are judged as by trying every order, whether right or not', () => {
    const verdicts = { right: 0, wrong: 0 }
    const small = fc.array(
      fc.record({
        what: fc.constantFrom<KeyOp>(
          put('a'),
          put('b'),
          { ...put('c'), expects: 'a', refused: false },
          { ...put('d'), expects: null, refused: { absent: false, count: 1, text: 'a' } },
          append('e', 0),
          append('f', 1),
          unlink,
          read('a'),
          read('b'),
          read('af'),
          read(undefined),
        ),
        start: fc.integer({ min: 0, max: 8 }),
        takes: fc.integer({ min: 1, max: 8 }),
        unknown: fc.boolean(),
      }),
      { maxLength: 6 },
    )
    fc.assert(
      fc.property(small, (plan) => {
        const history = plan.map(({ what, start, takes, unknown }) =>
          unknown && what.type !== 'read' ? lost(start, what) : op(start, start + takes, what),
        )
        const right = isRight(history)
        verdicts[right ? 'right' : 'wrong']++
        expect(right).toBe(isRightByForce(history))
      }),
      { numRuns: 1_500 },
    )
    expect(Math.min(verdicts.right, verdicts.wrong)).toBeGreaterThan(100)
  })
})
