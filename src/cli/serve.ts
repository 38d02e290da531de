/** `tailrace serve`: holds the store of a data directory and serves it, until it is stopped. See
 *  rfc/13.
 *  Invariant: the store is closed after the server, whatever ends it; a second signal does not wait. */

import { closeSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { OrphanReaper } from '../base/orphans.js'
import { becomeSubreaper } from '../base/posix.js'
import { toTailraceError } from '../error.js'
import type { Server } from '../server/server.js'
import { boundHeapGrowth } from './heap-growth.js'
import { defined, type Invocation, parseInteger } from './invocation.js'
import { busyExitCode, dataDirectory } from './local.js'
import { LogFile } from './log-file.js'
import { escaped } from './quote.js'

/** `serve --background` ends with this where it did not come to listen, and the directory was not held. */
const failedExitCode = 1

export async function serve(invocation: Invocation): Promise<number> {
  boundHeapGrowth()
  const { options, environment } = invocation
  const directory = dataDirectory(options.text('data'), environment)
  const runningMax = options.integer('jobs', 1)
  const idleExitMs = await idleExitOf(invocation)
  let ready = options.integer('readyFd', 3)
  const isBackground = options.flag('background')
  const logFile = isBackground ? new LogFile(join(directory, 'server.log')) : undefined
  // Loaded side by side with the opening of the store: a start is waited for.
  const { open } = await import('../open.js')
  try {
    const opening = open({ directory, ...defined({ runningMax }) })
    const [{ startServer }, store] = await Promise.all([import('../server/server.js'), opening])
    await using _closed = store
    await using server = await startServer(store, {
      directory,
      listen: options.texts('listen'),
      insecureListen: options.flag('insecureListen'),
      allowHosts: options.texts('allowHost'),
      allowOrigins: options.texts('allowOrigin'),
      ...(logFile && { log: (line) => logFile.write(`${new Date().toISOString()} ${line}`) }),
      ...defined({ idleExitMs }),
    })
    // Orphans of jobs become our children: they are found when the job ends, and nobody else reaps them.
    using _reaper = becomeSubreaper() ? new OrphanReaper() : undefined
    // However this process ends: nothing that it ran goes on without it.
    process.on('exit', () => store.jobs.kill())
    stopOnSignals(server)
    if (ready !== undefined) closeSync(ready)
    ready = undefined // From now on its number may be that of another file.
    if (!isBackground) await announce(invocation, directory, server)
    await server.ended
    return 0
  } catch (error) {
    if (!isBackground) throw error
    const { code, message } = toTailraceError(error)
    const line = escaped(`tailrace: ${code}: ${message}`)
    logFile?.write(line)
    if (ready !== undefined) tell(ready, `${line}\n`)
    return code === 'EBUSY' ? busyExitCode : failedExitCode
  }
}

/** Who started us may have gone. */
function tell(ready: number, text: string): void {
  try {
    writeSync(ready, text)
  } catch {
    // The log has it.
  }
}

/** Without `--idle-exit` never. */
async function idleExitOf(invocation: Invocation): Promise<number | undefined> {
  const { options } = invocation
  const text = options.text('idleExit')
  if (text !== undefined) return parseInteger('--idle-exit', text, 1)
  if (!options.flag('idleExit')) return undefined
  const { idleExitMsDefault } = await import('../server/server.js')
  return idleExitMsDefault
}

function stopOnSignals(server: Server): void {
  let signals = 0
  const stop = () => {
    signals++
    if (signals > 1) process.exit(1)
    void server.stop() // It never rejects; what follows waits for `ended`.
  }
  process.removeAllListeners('SIGINT') // main's, which ends us at once
  // A terminal that is closed is no other reason to leave things behind.
  process.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', stop)
}

async function announce(invocation: Invocation, directory: string, server: Server): Promise<void> {
  const { stdout, options } = invocation
  if (options.flag('json')) {
    await stdout.json(server.record)
    return
  }
  await stdout.line(`tailrace serves ${directory}`)
  await stdout.line(`  unix:${server.socket}`)
  for (const address of server.listen) {
    await stdout.line(`  http://${address} (token: tailrace token --data ${directory})`)
  }
}
