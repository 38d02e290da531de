/** Who is woken of those that wait for a key. See rfc/7. */

import { expect, it } from 'vitest'
import { TailraceError } from '../../src/error.js'
import { AppendKey } from '../../src/watch/append-key.js'
import type { Sight } from '../../src/watch/sights.js'

it('that a key is still not there wakes nobody, and why it is not there does', async () => {
  const key = new AppendKey('a', {} as never, () => 0, {} as never)
  const missing: Sight = { gone: new TailraceError('ENONS', 'there is no namespace') }
  await key.follow(
    (async function* () {
      for (let n = 0; n < 10; n++) yield missing
    })(),
  )
  expect(key.changed.count).toBe(1)
  await key.follow(
    (async function* () {
      yield { gone: new TailraceError('ECLOSED', 'the store is closed') }
    })(),
  )
  expect(key.changed.count).toBe(2)
})
