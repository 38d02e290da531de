/** A server on a data directory, whose main thread is watched by another thread. Prints its socket, then answers
 *  messages: `begin` forgets what was seen, `end` gives the longest time in ms that the event loop stood still since. */

import { Worker } from 'node:worker_threads'
import { open } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'

/** The loop says so often that it turns; the other thread looks as often. */
const beatMs = 1

const [directory = ''] = process.argv.slice(2)
const store = await open({ directory })
const server = await startServer(store, { directory, log: () => {} })

/** When the loop turned last, and its longest stall since `begin`; ns of the monotonic clock. */
const shared = new BigInt64Array(new SharedArrayBuffer(16))
const beat = () => Atomics.store(shared, 0, process.hrtime.bigint())
beat()
setInterval(beat, beatMs)

// A pause of the thread that looks is not counted as one of the loop, since the times are the loop's own; nor is the
// time that the loop's thread had work and no processor (Linux tells it), which is the machine's.
const looking = `
  const { readFileSync } = require('node:fs')
  const { workerData } = require('node:worker_threads')
  const queued = () => {
    try {
      const path = '/proc/self/task/' + process.pid + '/schedstat'
      return BigInt(readFileSync(path, 'latin1').split(' ')[1])
    } catch {
      return 0n
    }
  }
  const still = new Int32Array(new SharedArrayBuffer(4))
  let [seen, before] = [0n, 0n]
  for (;;) {
    Atomics.wait(still, 0, 0, ${beatMs})
    const beat = Atomics.load(workerData, 0)
    const now = process.hrtime.bigint()
    const waited = queued()
    if (beat !== seen) [seen, before] = [beat, waited]
    const gap = now - beat - (waited - before)
    if (gap > Atomics.load(workerData, 1)) Atomics.store(workerData, 1, gap)
  }`
new Worker(looking, { eval: true, workerData: shared }).unref()

process.on('message', (asked) => {
  const longest = Number(Atomics.load(shared, 1)) / 1e6
  if (asked === 'begin') {
    // What earlier tries left behind is no part of this one.
    globalThis.gc?.()
    beat()
    Atomics.store(shared, 1, 0n)
  }
  process.send?.(longest)
})
process.once('disconnect', () => process.exit())
process.stdout.write(`${server.socket}\n`)
