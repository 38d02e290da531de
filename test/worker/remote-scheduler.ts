/** A program that runs a target by workers that have joined a store, for tests of its end. Arguments: the address of
 *  the server, the path of the module of targets, the name of the target. */

import { pathToFileURL } from 'node:url'
import type { Target } from '../../src/api/flow.js'
import { connect } from '../../src/client/node.js'
import { openWorkers, run } from './api.js'

const [url = '', module = '', name = ''] = process.argv.slice(2)
const targets: Readonly<Record<string, Target<unknown>>> = await import(pathToFileURL(module).href)
const wanted = targets[name]
if (!wanted) throw new Error(`there is no target ${name}`)
await using store = await connect(url)
await using workers = openWorkers({ remote: { store, ttlMs: 1_000 } })
for await (const { type } of run(wanted, { workers, store })) console.log(type)
