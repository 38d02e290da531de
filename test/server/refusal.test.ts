/** What is read of the body of a refused request. See rfc/12, rules 6 and 7. */

import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect, it } from 'vitest'
import { TailraceError } from '../../src/error.js'
import { refuse } from '../../src/server/refusal.js'

/** Sends chunks of a body that never ends to a server that refuses it within 64 KiB. Resolves when the
 *  server has ended the connection. */
async function refused(answer: 'first' | 'last', chunks: string): Promise<string> {
  const server = createServer((request, response) => {
    const error = new TailraceError('EUNAUTH', 'no token')
    refuse(request, response, { error, rest: { answer, size: 64 * 1024, ms: 600_000 } })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  let answered = ''
  socket.setEncoding('latin1').on('data', (text: string) => {
    answered += text
  })
  const requested = once(server, 'request')
  socket.write('PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n')
  await requested
  socket.write(chunks)
  await once(socket, 'close')
  server.close()
  return answered
}

it.each(['first', 'last'] as const)('chunks of a byte end it early (answer %s)', async (answer) => {
  // 6 KiB, of which the body has 1,000 bytes.
  expect(await refused(answer, '1\r\nx\r\n'.repeat(1_000))).toContain('EUNAUTH')
})

it.each(['first', 'last'] as const)('extensions of chunks count (answer %s)', async (answer) => {
  // 100 KB, of which the body has 25 bytes.
  const chunk = `1;${'x'.repeat(4_000)}\r\ny\r\n`
  expect(await refused(answer, chunk.repeat(25))).toContain('EUNAUTH')
})
