/** The guard of a worker process: a thread that runs no user code. It says that the process lives, gives
 *  calls back that have not begun while a function blocks the other thread, and ends the process when
 *  the scheduler is gone. See rfc/25, rules 11 and 12.
 *  Invariant: it waits for its socket and its timer only. */

import { Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { decide } from './decisions.js'
import { hearLines } from './lines.js'
import type { GuardData } from './process-link.js'

/** The time between two signs of life, in ms. */
const beatMs = 10_000

const { fd, decisions, graceMs } = workerData as GuardData
const control = new Socket({ fd })

control.on('error', () => {}) // a close follows
hearLines(control, (line) => {
  const seqs = line.split(' ').map(Number)
  control.write(`${seqs.filter((seq) => decide(decisions, seq, 'take')).join(' ')}\n`)
})
// The other thread ends the process as soon as it sees the same, if no function blocks it.
control.once('close', () => setTimeout(() => process.kill(process.pid, 'SIGKILL'), graceMs))
setInterval(() => control.write('beat\n'), beatMs).unref()
parentPort?.postMessage('ready')
