/** A process that watches the changes below a directory, and prints each event as a line of JSON. Arguments: the
 *  server's address, the directory. */

import { writeSync } from 'node:fs'
import { connect } from '../../src/client/node.js'

const [target = '', key = ''] = process.argv.slice(2)
const store = await connect(target)
for await (const event of store.watch(key, { mode: 'changes', initial: true })) {
  writeSync(1, `${JSON.stringify(event)}\n`)
}
