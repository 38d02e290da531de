/** The reload of a running server's configuration at SIGHUP. See rfc/30, rule 11.
 *  Invariant: all of the new configuration is checked before anything changes. One reload runs at a
 *  time, and at most one waits. It never ends the server. */

import { runningMaxDefault } from '../api/job.js'
import { toTailraceError } from '../error.js'
import { logLevelDefault } from '../local/log-file.js'
import type { Log } from '../server/log.js'
import { ConfigurationError, type Option } from './command.js'
import {
  type Configuration,
  type ConfigurationSources,
  configuredNames,
  readConfiguration,
} from './configuration.js'
import {
  checkConfiguration,
  type DescribedServer,
  describedServer,
  fieldOf,
  type ServerChecks,
  valueText,
} from './configuration-check.js'
import { configuredOptions } from './serve-options.js'

type ReloadPorts = {
  readonly server: {
    reload(changes: Pick<DescribedServer, 'allowHosts' | 'allowOrigins'>): Promise<void>
    readonly log: Log
  }
  readonly jobs: { resizeQueue(runningMax: number): void }
  readonly checks: ServerChecks
  readonly sources: ConfigurationSources
}

/** The configuration of a server that runs. */
export class RunningConfiguration {
  readonly #ports: ReloadPorts
  /** The configuration of the start, with the fields that have changed since. */
  #now: Configuration
  #state: 'idle' | 'reading' | 'reading, and again' = 'idle'

  constructor(configuration: Configuration, ports: ReloadPorts) {
    this.#now = configuration
    this.#ports = ports
  }

  /** Reads the configuration again, after a reading that is under way. Never rejects. */
  async reload(): Promise<void> {
    if (this.#state !== 'idle') {
      this.#state = 'reading, and again'
      return
    }
    do {
      this.#state = 'reading'
      await this.#reload()
    } while (this.#isAskedAgain())
    this.#state = 'idle'
  }

  #isAskedAgain(): boolean {
    return this.#state === 'reading, and again'
  }

  async #reload(): Promise<void> {
    const { server, sources, checks } = this.#ports
    try {
      const next = await readConfiguration(sources)
      await checkConfiguration(next, checks)
      await this.#apply(next)
    } catch (error) {
      const problems = error instanceof ConfigurationError ? error.problems : undefined
      const messages = problems ?? [toTailraceError(error).message]
      for (const message of messages) server.log.line(`EMISCONFIGURED: ${message}`, 'error')
      const message = 'the configuration was read again, and changes nothing: it has mistakes'
      server.log.line(message, 'error')
    }
  }

  async #apply(next: Configuration): Promise<void> {
    const { server, jobs } = this.#ports
    const log = (line: string) => server.log.line(line)
    const from = next.file ?? 'flags and variables (there is no file)'
    log(`the configuration was read again from ${from}`)
    const changed = configuredNames.filter((name) => {
      return valueText(this.#now, name) !== valueText(next, name)
    })
    for (const name of changed) {
      const { reloads }: Option<unknown, string> = configuredOptions[name]
      const change = `${fieldOf(name)}: ${valueText(this.#now, name)} → ${valueText(next, name)}`
      log(reloads ? change : `${change} needs a restart`)
    }
    const { allowHosts, allowOrigins } = describedServer(next)
    await server.reload({ allowHosts, allowOrigins })
    const { values } = next
    server.log.level = values.logLevel ?? logLevelDefault
    if (changed.includes('jobs')) jobs.resizeQueue(values.jobs ?? runningMaxDefault)
    const taken = configuredNames.filter((name) => {
      const { reloads }: Option<unknown, string> = configuredOptions[name]
      return reloads
    })
    const reloaded = Object.fromEntries(taken.map((name) => [name, values[name]]))
    this.#now = { ...this.#now, values: { ...this.#now.values, ...reloaded } }
  }
}
