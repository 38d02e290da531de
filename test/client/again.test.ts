/** Again: what is sent again, and what ends it (rfc/12, rule 21). */

import { describe, expect, it } from 'vitest'
import { Again } from '../../src/client/again.js'
import { TailraceError } from '../../src/error.js'
import { refusal } from '../kvs/expect.js'

const backoff = { minMs: 1, maxMs: 2 }
const lost = new TailraceError('EUNKNOWN', 'lost')

const kept = { isKept: true }

/** Fails with each error in turn, then answers how often it was sent. */
function failing(...errors: readonly unknown[]) {
  let sent = 0
  return async () => {
    const error = errors[sent++]
    if (error) throw error
    return sent
  }
}

describe('untilAnswered()', () => {
  it('sends again what was not answered, or is to be sent later', async () => {
    const again = new Again({ backoff, random: () => 0 })
    const codes = ['EUNKNOWN', 'ECLOSED', 'EBUSY', 'ETIMEDOUT'] as const
    const errors = [...codes, ...codes].map((code) => new TailraceError(code, 'lost'))
    expect(await again.untilAnswered(failing(...errors), undefined, kept)).toBe(errors.length + 1)
  })

  it('ends with an answer, one that says that it was done long ago too', async () => {
    const again = new Again({ backoff, random: () => 0 })
    const done = new TailraceError('EUNKNOWN', 'long ago', { failed: { state: { seq: 3 } } })
    const bug = new Error('a bug')
    expect(await refusal(again.untilAnswered(failing(lost, done), undefined, kept))).toBe(done)
    for (const code of ['ECONFLICT', 'EFENCED', 'EINVAL', 'ENOSPC', 'EIO', 'EUNAUTH'] as const) {
      const answer = new TailraceError(code, 'no')
      const refused = again.untilAnswered(failing(lost, answer), undefined, kept)
      expect(await refusal(refused)).toBe(answer)
    }
    await expect(again.untilAnswered(failing(bug), undefined, kept)).rejects.toBe(bug)
  })

  it('without a kept answer: a refusal behind a try that may have been done is EUNKNOWN', async () => {
    const again = new Again({ backoff, random: () => 0 })
    const no = new TailraceError('ECONFLICT', 'no')
    const ended = async (...errors: readonly TailraceError[]) =>
      refusal(again.untilAnswered(failing(...errors, no), undefined, { isKept: false }))
    for (const code of ['EUNKNOWN', 'ETIMEDOUT'] as const) {
      const unanswered = new TailraceError(code, 'lost')
      expect(await ended(unanswered)).toMatchObject({ code: 'EUNKNOWN', cause: no })
      const busy = new TailraceError('EBUSY', 'later')
      expect(await ended(unanswered, busy)).toMatchObject({ code: 'EUNKNOWN', cause: no })
    }
    for (const code of ['EBUSY', 'ECLOSED'] as const) {
      expect(await ended(new TailraceError(code, 'nothing was done'))).toBe(no)
    }
    expect(await ended()).toBe(no)
  })

  it('ends with the signal and with the client, in the middle of a wait', async () => {
    const slow = { minMs: 1_000_000, maxMs: 1_000_000 }
    const again = new Again({ backoff: slow, random: () => 0 })
    const abort = new AbortController()
    const canceled = refusal(again.untilAnswered(failing(lost), abort.signal, kept))
    const closed = refusal(again.untilAnswered(failing(lost), new AbortController().signal, kept))
    abort.abort()
    expect(await canceled).toMatchObject({ code: 'ECANCELED' })
    again.dispose()
    again.dispose()
    expect(await closed).toMatchObject({ code: 'ECLOSED' })
    expect(await refusal(again.untilAnswered(failing(lost), undefined, kept))).toBe(lost)
  })
})
