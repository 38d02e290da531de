/** The judge of the five cases accepts what the cache promises, and nothing else. */

import { describe, expect, it } from 'vitest'
import { type Call, complaintsOf, type Deed, type Outcome, type Story } from './judge.js'

/** A call from one time to another. Its function has made a version if its outcome is named after it. */
function deed(by: string, call: Call, from: number, to: number, outcome: Outcome): Deed {
  const made = 'value' in outcome && outcome.value === by ? [by] : []
  return { by, call, begin: from, end: to, made, outcome }
}
const value = (version: string | null): Outcome => ({ value: version })
const removed = (isRemoved: boolean): Outcome => ({ removed: isRemoved })
const failed = (code: string): Outcome => ({ failed: code, message: '' })

const right: Readonly<Record<string, Partial<Story>>> = {
  'nothing at all': {},
  'a miss': { deeds: [deed('b', 'load', 1, 2, value(null))] },
  'two writers, one of whom gets the result of the other': {
    deeds: [deed('a', 'cached', 1, 4, value('b')), deed('b', 'cached', 2, 3, value('b'))],
    log: ['publish'],
  },
  'a read that began before a removal and ended behind it': {
    deeds: [
      deed('a', 'cached', 1, 2, value('a')),
      deed('b', 'load', 3, 6, value('a')),
      deed('c', 'remove', 4, 5, removed(true)),
    ],
    log: ['publish', 'remove'],
  },
  'a rerun': {
    deeds: [deed('a', 'cached', 1, 2, value('a')), deed('b', 'rerun', 3, 4, value('b'))],
    log: ['publish', 'publish'],
  },
  'a holder that was killed before its publish': {
    deeds: [
      { by: 'a', call: 'cached', begin: 1, made: ['a'], isKilled: true },
      deed('b', 'cached', 2, 3, value('b')),
    ],
    log: ['publish'],
    lostMax: 1,
  },
  'a holder that was killed after its publish': {
    deeds: [
      { by: 'a', call: 'cached', begin: 1, made: ['a'], isKilled: true },
      deed('b', 'cached', 2, 3, value('a')),
    ],
    log: ['publish'],
    lostMax: 1,
  },
  'a publish that was refused as it may be': {
    deeds: [
      { ...deed('a', 'publish', 1, 4, failed('EFENCED')), made: ['a'], mayFail: ['EFENCED'] },
      deed('b', 'publish', 2, 3, value('b')),
    ],
    log: ['publish'],
    lostMax: 1,
  },
}

const wrong: Readonly<Record<string, Partial<Story>>> = {
  'a call that has not ended': { deeds: [{ by: 'a', call: 'load', begin: 1, made: [] }] },
  'an error in the place of a miss': { deeds: [deed('a', 'load', 1, 2, failed('ENOENT'))] },
  'two writers who both wrote': {
    deeds: [deed('a', 'cached', 1, 4, value('a')), deed('b', 'cached', 2, 3, value('b'))],
    log: ['publish', 'publish'],
  },
  'two executions of which one was not published': {
    deeds: [
      { ...deed('a', 'cached', 1, 4, value('b')), made: ['a'] },
      deed('b', 'cached', 2, 3, value('b')),
    ],
    log: ['publish'],
  },
  'a read of a result that was removed before': {
    deeds: [
      deed('a', 'cached', 1, 2, value('a')),
      deed('c', 'remove', 3, 4, removed(true)),
      deed('b', 'load', 5, 6, value('a')),
    ],
    log: ['publish', 'remove'],
  },
  'a miss where there is a result': {
    deeds: [deed('a', 'cached', 1, 2, value('a')), deed('b', 'load', 3, 4, value(null))],
    log: ['publish'],
  },
  'bytes that nobody made': {
    deeds: [deed('a', 'cached', 1, 2, value('a')), deed('b', 'load', 3, 4, value('x'))],
    log: ['publish'],
  },
  'a removal by two': {
    deeds: [
      deed('a', 'cached', 1, 2, value('a')),
      deed('b', 'remove', 3, 6, removed(true)),
      deed('c', 'remove', 4, 5, removed(true)),
    ],
    log: ['publish', 'remove'],
  },
  'a removal that the log has twice': {
    deeds: [deed('a', 'cached', 1, 2, value('a')), deed('b', 'remove', 3, 4, removed(true))],
    log: ['publish', 'remove', 'remove'],
  },
  'a publish that was refused and took effect above the other': {
    deeds: [
      { ...deed('a', 'publish', 1, 4, failed('EFENCED')), made: ['a'], mayFail: ['EFENCED'] },
      deed('b', 'publish', 2, 3, value('b')),
      deed('c', 'load', 5, 6, value('a')),
    ],
    log: ['publish'],
    lostMax: 1,
  },
}

function complaints(story: Partial<Story> | undefined): readonly string[] {
  return complaintsOf({ deeds: [], log: [], lostMax: 0, ...story })
}

describe('complaintsOf()', () => {
  it.each(Object.keys(right))('has none of %s', (name) => {
    expect(complaints(right[name])).toEqual([])
  })

  it.each(Object.keys(wrong))('has some of %s', (name) => {
    expect(complaints(wrong[name])).not.toEqual([])
  })
})
