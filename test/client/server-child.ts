/** A server on a data directory, until it is killed: prints the path of its socket once it listens. */

import { open } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'

const [directory = ''] = process.argv.slice(2)
const store = await open({ directory })
const server = await startServer(store, { directory, log: () => {} })
process.stdout.write(`${server.socket}\n`)
