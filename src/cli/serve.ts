/** `tailrace serve`: holds the store of a data directory and serves it, until it is stopped. See
 *  rfc/13.
 *  Invariant: the store is closed after the server, whatever ends it; a second signal does not
 *  wait. */

import { closeSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { OrphanReaper } from '../base/orphans.js'
import { becomeSubreaper } from '../base/posix.js'
import { defined } from '../base/shape.js'
import { toTailraceError } from '../error.js'
import { busyExitCode } from '../local/local.js'
import { LogFile } from '../local/log-file.js'
import type { Server, ServerOptions } from '../server/server.js'
import {
  type CommandContext,
  command,
  file,
  flag,
  many,
  type OptionValues,
  option,
  UsageError,
  type ValueKind,
} from './command.js'
import { MigrationProgress } from './migration-progress.js'
import { data, json } from './options.js'
import { escaped } from './quote.js'
import { dataDirectory } from './session.js'
import { integer } from './units.js'
import { absolutePath } from './utf8.js'

/** The exit code of `serve --background` where it failed before it listened, except for a directory
 *  that is held. */
const failedExitCode = 1

/** A mode of a file in octal digits: its owner may read and write it, and nobody run it. */
const socketMode: ValueKind<number> = {
  parse: (text, what) => {
    if (/^0?6[06]{2}$/.test(text)) return Number.parseInt(text, 8)
    throw new UsageError(`${what} takes 0600, 0660 or 0666, not "${text}"`)
  },
  completes: ['0600', '0660', '0666'],
}

const options = {
  data,
  listen: many('--listen <host:port>', 'TCP as well; port 0: a free one; needs the token'),
  insecureListen: flag('--insecure-listen', 'allow an address that is not loopback, without TLS', {
    needs: 'listen',
  }),
  tlsCert: option(
    '--tls-cert <file>',
    'HTTPS alone on TCP: the certificate, and those that vouch for it, in PEM',
    file,
    { needs: ['tlsKey', 'listen'], excludes: ['insecureListen'] },
  ),
  tlsKey: option('--tls-key <file>', 'its key (0600); both are read again when they change', file, {
    needs: 'tlsCert',
  }),
  socket: option(
    '--socket <path>',
    'another Unix socket; who can open it needs no token, and may do everything',
    file,
  ),
  socketMode: option('--socket-mode <mode>', 'its mode: 0600 (default), 0660, 0666', socketMode, {
    needs: 'socket',
  }),
  allowOrigin: many('--allow-origin <origin>', 'a web page that may call'),
  allowHost: many('--allow-host <host>', 'a Host header that may call', undefined, {
    needs: 'listen',
  }),
  idleExit: option(
    '--idle-exit [ms]',
    'end when idle for so long (default: 5 minutes)',
    integer(1),
  ),
  jobs: option('--jobs <n>', 'jobs that run at once (default: 64)', integer(1)),
  json,
  background: flag('--background', 'started by a client', { hidden: true }),
  readyFd: option('--ready-fd <n>', 'closed when the server listens', integer(3), {
    hidden: true,
  }),
}

type ServeCall = CommandContext & { readonly options: OptionValues<typeof options> }

export const serve = command({
  name: 'serve',
  summary: 'serve the data directory, in the foreground',
  options,
  examples: [
    'tailrace serve',
    'tailrace serve --listen 127.0.0.1:7270',
    'tailrace serve --listen 0.0.0.0:7270 --allow-host db.example --tls-cert fullchain.pem --tls-key privkey.pem',
    'tailrace serve --data ./store --jobs 4',
  ],
  run: async (call) => {
    const { options, environment } = call
    const directory = dataDirectory(options.data, environment)
    const { jobs: runningMax, background: isBackground } = options
    const idleExitMs = await idleExitOf(options.idleExit)
    let ready = options.readyFd
    const logFile = isBackground ? new LogFile(join(directory, 'server.log')) : undefined
    // The modules load while the store opens: somebody waits for the start.
    const [{ open }, { boundMemory }] = await Promise.all([
      import('../open.js'),
      import('../server/memory.js'),
    ])
    await boundMemory()
    try {
      await using migration = new MigrationProgress(call.stderr, {
        ...(logFile && {
          log: (line) => logFile.write(`${new Date().toISOString()} info ${line}`),
        }),
      })
      const onMigration = (done: number, total: number) => migration.show(done, total)
      const opening = open({ directory, onMigration, ...defined({ runningMax }) })
      const [{ startServer }, store] = await Promise.all([import('../server/server.js'), opening])
      await using _closed = store
      await migration.end()
      await using server = await startServer(store, {
        directory,
        listen: options.listen,
        insecureListen: options.insecureListen,
        allowHosts: options.allowHost,
        allowOrigins: options.allowOrigin,
        ...(logFile && { log: (line) => logFile.write(line) }),
        ...defined({ idleExitMs, tls: tlsOf(options), socket: socketOf(options) }),
      })
      // Orphans of jobs become children of this process, which finds them when the job ends, and
      // reaps them.
      using _reaper = becomeSubreaper() ? new OrphanReaper() : undefined
      // No job goes on without this process, however it ends.
      process.on('exit', () => store.jobs.kill())
      stopOnSignals(server)
      if (ready !== undefined) closeSync(ready)
      ready = undefined // From now on its number may be that of another file.
      if (!isBackground) await announce(call, directory, server)
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
  },
})

/** Writes to the client that started this process, which may have gone. */
function tell(ready: number, text: string): void {
  try {
    writeSync(ready, text)
  } catch {
    // The log has the text, too.
  }
}

/** Returns the time without work after which the server ends, in ms; undefined means never. */
async function idleExitOf(given: number | true | undefined): Promise<number | undefined> {
  if (given !== true) return given
  const { idleExitMsDefault } = await import('../server/server.js')
  return idleExitMsDefault
}

function socketOf({ socket, socketMode }: ServeCall['options']): ServerOptions['socket'] {
  if (socket === undefined) return undefined
  return { path: absolutePath(socket), ...defined({ mode: socketMode }) }
}

function tlsOf({ tlsCert, tlsKey }: ServeCall['options']): ServerOptions['tls'] {
  if (tlsCert === undefined || tlsKey === undefined) return undefined
  return { certFile: absolutePath(tlsCert), keyFile: absolutePath(tlsKey) }
}

function stopOnSignals(server: Server): void {
  let signals = 0
  const stop = () => {
    signals++
    if (signals > 1) process.exit(1)
    void server.stop() // `stop` never rejects, and `server.ended` tells of the end.
  }
  process.removeAllListeners('SIGINT') // process.ts ends the process at once
  // A closed terminal ends the server in the same order as a signal to stop.
  process.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', stop)
}

async function announce(
  { stdout, options }: ServeCall,
  directory: string,
  server: Server,
): Promise<void> {
  if (options.json) {
    await stdout.json(server.record)
    return
  }
  await stdout.line(`tailrace serves ${directory}`)
  await stdout.line(`  unix:${server.socket}`)
  for (const url of server.urls) {
    const token = url.startsWith('unix:') ? '' : ` (token: tailrace token --data ${directory})`
    await stdout.line(`  ${url}${token}`)
  }
}
