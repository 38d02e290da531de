/** A view of several lines on a terminal. See rfc/26, rule 10. */

import { Writable } from 'node:stream'
import { expect, it } from 'vitest'
import { Output } from '../../src/cli/output.js'
import { View } from '../../src/cli/view.js'

it('draws at its own place, cuts lines, and leaves the last state there', async () => {
  const writes: string[] = []
  const stream = new Writable({
    write: (chunk, _, done) => {
      writes.push(String(chunk))
      done()
    },
  })
  const output = new Output(Object.assign(stream, { isTTY: true, columns: 10 }))
  {
    await using view = new View(output)
    await view.show(() => ['a long line of text', [{ color: 'red', text: 'red' }, ' and more']])
    // Too soon after the first: only the last is drawn.
    await view.show(() => ['not drawn'])
    await view.show(() => ['the end'])
  }
  expect(writes).toEqual(['\r\x1b[J', 'a long li\nred and m\n', '\x1b[2A\r\x1b[J', 'the end\n'])
})
