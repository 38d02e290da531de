/** A process that appends by the producer `p` until it is killed, and prints each line once it is acknowledged.
 *  Argument: the server's address. */

import { writeSync } from 'node:fs'
import { connect } from '../../src/client/node.js'

const [target = ''] = process.argv.slice(2)
const store = await connect(target, { reconnect: { minMs: 1, maxMs: 20 } })
const producer = await store.producer('log', { id: 'p' })
for (let at = 0; ; at++) {
  const line = `${producer.epoch}/${at}`
  await producer.append(`${line}\n`)
  writeSync(1, `${line}\n`)
}
