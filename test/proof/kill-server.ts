/** A server with small bounds: segments turn over, the tables follow, and collections move and remove
 *  segments many times in the short life of a server that is killed. Arguments: the data directory. It
 *  prints its record as `tailrace serve --json` does. See kill.ts. */

import { join } from 'node:path'
import { systemEnvironment } from '../../src/base/environment.js'
import { settleFormat } from '../../src/engine/format-file.js'
import { openLocal } from '../../src/engine/local-open.js'
import { openOn } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'

const bounds = {
  segmentSize: 32_768,
  sparseSize: 0,
  flushCount: 128,
  history: { count: 40, ageMs: 0 },
}

const [directory = ''] = process.argv.slice(2)
const path = join(directory, 'store')
const engine = await openLocal(path, { environment: systemEnvironment, bounds })
await settleFormat(directory, engine)
const store = await openOn(engine)
const server = await startServer(store, { directory })
console.log(JSON.stringify(server.record))
await server.ended
