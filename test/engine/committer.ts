/** A process that commits to four namespaces at once until it is killed: `DIRECTORY INDEX_FLUSH_COUNT`.
 *  It prints `NAME SEQ` for each root that was acknowledged. */

import { systemEnvironment } from '../../src/base/environment.js'
import type { Engine } from '../../src/engine/engine.js'
import { openLocal } from '../../src/engine/local-open.js'
import { advanceWith, blobsAt, make } from './fixture.js'

const [directory = '', flushCount = ''] = process.argv.slice(2)

async function commitForEver(engine: Engine, name: string): Promise<never> {
  let head = (await engine.root(name)) ?? (await make(engine, name))
  for (;;) {
    const seq = head.root.seq + 1
    head = await advanceWith(engine, head, `${name}/${seq}`, blobsAt(name, seq))
    process.stdout.write(`${name} ${seq}\n`)
  }
}

const bounds = { flushCount: Number(flushCount) }
const engine = await openLocal(directory, { environment: systemEnvironment, bounds })
await Promise.all(['a', 'b', 'c', 'd'].map((name) => commitForEver(engine, name)))
