/** A server that is killed in the middle of two jobs: run by crash.test.ts with a data directory and
 *  a socket that its job calls. */

import { readStream } from '../../src/eventlog/read-stream.js'
import { open } from '../../src/open.js'

async function main(directory: string, socket: string): Promise<void> {
  const store = await open({ directory, runningMax: 1 })
  const env = { PATH: process.env['PATH'] ?? '' }
  const done = await store.jobs.submit({ command: ['sh', '-c', 'exit 3'], cwd: '/', env })
  await store.jobs.wait(done.id)
  const call = `console.log('begun'); require('net').connect(${JSON.stringify(socket)})`
  // One in the job's group, one that left it.
  const script = `setsid "${process.execPath}" -e "$CALL" & "${process.execPath}" -e "$CALL"; true`
  const command = ['sh', '-c', script]
  const running = await store.jobs.submit({ command, cwd: '/', env, set: { CALL: call } })
  const waiting = await store.jobs.submit({ command: ['true'], cwd: '/', env })
  let text = ''
  for await (const chunk of readStream(store, running.id, 'stdout', { follow: true })) {
    text += Buffer.from(chunk).toString()
    if (text !== 'begun\nbegun\n') continue
    process.send?.({ done: done.id, running: running.id, waiting: waiting.id })
  }
}

const [directory = '', socket = ''] = process.argv.slice(2)
void main(directory, socket)
