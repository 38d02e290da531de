/** `tailrace serve`: holds the store of a data directory and serves it, until it is stopped. See
 *  rfc/13; for its configuration, rfc/30.
 *  Invariant: the store is closed after the server, whatever ends it; a second signal does not
 *  wait. */

import { closeSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { systemEnvironment } from '../base/environment.js'
import { OrphanReaper } from '../base/orphans.js'
import { becomeSubreaper } from '../base/posix.js'
import { defined } from '../base/shape.js'
import { reasonOf, TailraceError, toTailraceError } from '../error.js'
import { busyExitCode } from '../local/local.js'
import { LogFile } from '../local/log-file.js'
import type { Server } from '../server/server.js'
import {
  type CommandContext,
  ConfigurationError,
  command,
  type OptionValues,
  type Variables,
} from './command.js'
import type { Configuration } from './configuration.js'
import type { ServerChecks } from './configuration-check.js'
import { ControllingTerminal } from './controlling-terminal.js'
import { MigrationProgress } from './migration-progress.js'
import { escaped } from './quote.js'
import { fromSystemd, serveOptions } from './serve-options.js'
import { dataDirectory } from './session.js'
import { absolutePath } from './utf8.js'

/** The exit code of `serve --background` where it failed before it listened, except for a directory
 *  that is held. */
const failedExitCode = 1

type ServeCall = CommandContext & { readonly options: OptionValues<typeof serveOptions> }

export const serve = command({
  name: 'serve',
  summary: 'serve the data directory, in the foreground',
  description:
    'Serve the data directory, in the foreground. Behind each option stand its field in the ' +
    'configuration file and its environment variable; a flag wins over the variable, the variable ' +
    'over the file. SIGHUP makes the server read its configuration again.',
  options: serveOptions,
  examples: [
    'tailrace serve',
    'tailrace serve --listen 127.0.0.1:7270',
    'tailrace serve --listen 0.0.0.0:7270 --allow-host db.example --tls-cert fullchain.pem --tls-key privkey.pem',
    'tailrace serve --data ./store --jobs 4',
    'tailrace serve --config /etc/tailrace.yaml --check',
  ],
  run: async (call) => {
    const { options, environment, given } = call
    const isBackground = options.background
    const sources = { given, environment, isBackground }
    const hangUp = new HangUp()
    let ready = options.readyFd
    // A server in the background has its directory from its client.
    const held = dataDirectory(options.data, environment)
    let logFile = isBackground ? new LogFile(join(held, 'server.log')) : undefined
    const write = (line: string) => {
      if (logFile) logFile.write(line)
      else process.stderr.write(`${line}\n`)
    }
    try {
      const { readConfiguration } = await import('./configuration.js')
      const { checkConfiguration, describedServer } = await import('./configuration-check.js')
      const configuration = await readConfiguration(sources)
      if (options.check) return await showConfiguration(call, configuration)
      const { directory, values } = configuration
      // The modules load while the store opens: somebody waits for the start.
      const [{ open }, { boundMemory }, { Log }] = await Promise.all([
        import('../open.js'),
        import('../server/memory.js'),
        import('../server/log.js'),
      ])
      await boundMemory()
      if (values.logFile !== undefined) logFile = openLogFile(values.logFile, values.logSize)
      const logging = { level: values.logLevel, format: values.logFormat }
      const early = new Log(write, systemEnvironment, logging)
      await using migration = new MigrationProgress(call.stderr, {
        ...(logFile && { log: (line) => early.line(line) }),
      })
      const onMigration = (done: number, total: number) => migration.show(done, total)
      const runningMax = values.jobs
      const opening = open({ directory, onMigration, ...defined({ runningMax }) })
      const [{ startServer }, store] = await Promise.all([import('../server/server.js'), opening])
      await using _closed = store
      await migration.end()
      const checks = await serverChecks()
      await checkConfiguration(configuration, checks)
      const idleExitMs = await idleExitOf(configuration, { isBackground })
      const inherited = values.listen.includes(fromSystemd) ? takeSockets(environment) : []
      await using server = await startServer(store, {
        ...describedServer(configuration),
        ...{ directory, log: write, logging, inherited, ...defined({ idleExitMs }) },
        ...defined({ stopJobsMs: values.stopJobs }),
      })
      // Orphans of jobs become children of this process, which finds them when the job ends, and
      // reaps them.
      using _reaper = becomeSubreaper() ? new OrphanReaper() : undefined
      // No job goes on without this process, however it ends.
      process.on('exit', () => store.jobs.kill())
      const { RunningConfiguration } = await import('./reload.js')
      const running = new RunningConfiguration(configuration, {
        ...{ server, jobs: store.jobs, checks, sources },
      })
      const waitsForJobs = (values.stopJobs ?? 0) > 0
      const reload = () => void running.reload() // it never rejects
      obeySignals(server, { hangUp, reload, waitsForJobs })
      if (ready !== undefined) closeSync(ready)
      ready = undefined // From now on its number may be that of another file.
      if (!isBackground) await announce(call, directory, server)
      await server.ended
      return 0
    } catch (error) {
      if (!isBackground) throw error
      const { code, message } = toTailraceError(error)
      const isConfiguration = error instanceof ConfigurationError
      const messages = isConfiguration ? error.problems : [message]
      const said = isConfiguration ? 'EMISCONFIGURED' : code
      const lines = messages.map((each) => escaped(`tailrace: ${said}: ${each}`))
      for (const line of lines) logFile?.write(line)
      if (ready !== undefined) tell(ready, `${lines.join('\n')}\n`)
      return code === 'EBUSY' ? busyExitCode : failedExitCode
    }
  },
})

/** Opens the file of the log that a configuration names. Throws EMISCONFIGURED. */
function openLogFile(path: string, sizeMax: number | undefined): LogFile {
  const absolute = absolutePath(path)
  try {
    return new LogFile(absolute, { apart: true, ...defined({ sizeMax }) })
  } catch (cause) {
    const message = `the log ${absolute} cannot be opened (${reasonOf(cause)})`
    throw new TailraceError('EMISCONFIGURED', message, { cause })
  }
}

/** The first descriptor of a socket that systemd passes (sd_listen_fds(3)). */
const firstPassed = 3

/** Returns the descriptors of the sockets that systemd has passed to this process, and keeps children from
 *  taking them for theirs. Throws EMISCONFIGURED. */
function takeSockets(variables: Variables): readonly number[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count = '' } = variables
  if (pid !== String(process.pid) || !/^[1-9][0-9]{0,2}$/.test(count)) {
    const message = `systemd has passed no sockets to this process ($LISTEN_PID, $LISTEN_FDS): start it by a .socket unit, or listen on HOST:PORT`
    throw new TailraceError('EMISCONFIGURED', message)
  }
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete process.env[name]
  return Array.from({ length: Number(count) }, (_, at) => firstPassed + at)
}

/** Checks a configuration, and prints it. */
async function showConfiguration(call: ServeCall, configuration: Configuration): Promise<number> {
  const { checkConfiguration, configurationJson, configurationLines } = await import(
    './configuration-check.js'
  )
  await checkConfiguration(configuration, await serverChecks())
  const { stdout, options } = call
  if (options.json) await stdout.json(configurationJson(configuration))
  else await stdout.lines(configurationLines(configuration))
  return 0
}

async function serverChecks(): Promise<ServerChecks> {
  const [{ checkListen, checkSocket }, { readPair }] = await Promise.all([
    import('../server/server.js'),
    import('../server/certificate.js'),
  ])
  return { checkListen, checkSocket, readPair }
}

/** Writes to the client that started this process, which may have gone. */
function tell(ready: number, text: string): void {
  try {
    writeSync(ready, text)
  } catch {
    // The log has the text, too.
  }
}

/** Returns the time without work after which the server ends, in ms; undefined means never. */
async function idleExitOf(
  { values: { idleExit }, origins }: Configuration,
  { isBackground }: { readonly isBackground: boolean },
): Promise<number | undefined> {
  const isUnset = origins.idleExit.from === 'default'
  if (idleExit !== true && !(isUnset && isBackground)) return idleExit || undefined
  const { idleExitMsDefault } = await import('../server/server.js')
  return idleExitMsDefault
}

/** SIGHUP from the start of this process on: a terminal that was closed, or a request to read the
 *  configuration again. See rfc/30, rule 12. */
class HangUp {
  readonly #terminal = new ControllingTerminal()
  #isAsked = false
  #serving: { readonly stop: () => void; readonly reload: () => void } | undefined

  constructor() {
    process.on('SIGHUP', () => this.#take())
  }

  /** Passes the signals on, and the request that came before. */
  passTo(serving: { readonly stop: () => void; readonly reload: () => void }): void {
    this.#serving = serving
    if (this.#isAsked) serving.reload()
  }

  #take(): void {
    if (this.#terminal.isLost) {
      this.#terminal.release()
      if (this.#serving) this.#serving.stop()
      else process.exit(128 + constants.signals.SIGHUP)
    } else if (this.#serving) this.#serving.reload()
    else this.#isAsked = true
  }
}

type Obeying = {
  readonly hangUp: HangUp
  readonly reload: () => void
  readonly waitsForJobs: boolean
}

/** Stops the server at a signal. `waitsForJobs`: a second signal ends the wait for jobs, and only a third
 *  one the process. */
function obeySignals(server: Server, { hangUp, reload, waitsForJobs }: Obeying): void {
  let signals = 0
  const stop = () => {
    signals++
    if (signals > (waitsForJobs ? 2 : 1)) process.exit(1)
    // `stop` never rejects, and `server.ended` tells of the end.
    void server.stop({ now: signals > 1 })
  }
  process.removeAllListeners('SIGINT') // process.ts ends the process at once
  process.on('SIGINT', stop).on('SIGTERM', stop)
  // A closed terminal ends the server in the same order as a signal to stop.
  hangUp.passTo({ stop, reload })
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
