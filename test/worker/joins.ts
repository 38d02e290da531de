/** A program that joins a store as a worker, and says what happens to it. Arguments: the address of the server, the
 *  options of the worker as JSON. */

import type { ServedWorkerEvent } from '../../src/api/flow.js'
import { connect } from '../../src/client/node.js'
import { serveWorker } from './api.js'

const [url = '', options = '{}'] = process.argv.slice(2)
await using store = await connect(url)
const onEvent = (event: ServedWorkerEvent) => console.log(JSON.stringify(event))
const worker = serveWorker(store, { ...JSON.parse(options), onEvent })
process.on('SIGTERM', () => worker.leave())
await worker.ended
