/** A server on a data directory, until it is killed: prints the path of its socket once it listens. With an address
 *  and an origin it also listens there, for pages of that origin; the second line is its address, the third its
 *  token. */

import { open } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'

const [directory = '', address, origin] = process.argv.slice(2)
const store = await open({ directory })
const server = await startServer(store, {
  directory,
  log: () => {},
  ...(address !== undefined && { listen: [address] }),
  ...(origin !== undefined && { allowOrigins: [origin] }),
})
process.stdout.write([server.socket, ...server.listen, server.token, ''].join('\n'))
