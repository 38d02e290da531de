/** Checks of a configuration that go beyond its text: addresses, the certificate, the place of the
 *  socket; and the table that `serve --check` prints. See rfc/30, rule 10.
 *  Invariant: nothing listens, and nothing is changed. */

import { defined } from '../base/shape.js'
import { isCode, TailraceError } from '../error.js'
import { ConfigurationError, type Option } from './command.js'
import { type Configuration, type ConfiguredName, configuredNames } from './configuration.js'
import { configuredOptions, fromSystemd } from './serve-options.js'
import { absolutePath } from './utf8.js'

/** Options of the server that a configuration describes, as `startServer` takes them. */
export type DescribedServer = {
  readonly listen: readonly string[]
  readonly insecureListen: boolean
  readonly allowHosts: readonly string[]
  readonly allowOrigins: readonly string[]
  readonly tls?: { readonly certFile: string; readonly keyFile: string }
  readonly socket?: { readonly path: string; readonly mode?: number }
}

/** The server's own checks of its options, each of which throws what a start would throw. */
export type ServerChecks = {
  readonly checkListen: (
    options: Pick<DescribedServer, 'listen' | 'insecureListen' | 'tls'>,
  ) => unknown
  readonly checkSocket: (place: NonNullable<DescribedServer['socket']>) => Promise<void>
  readonly readPair: (files: NonNullable<DescribedServer['tls']>) => Promise<unknown>
}

/** Returns the options of the server that a configuration describes. */
export function describedServer({ values }: Configuration): DescribedServer {
  const { listen, insecureListen, allowHost, allowOrigin, tlsCert, tlsKey, socket } = values
  const addresses = listen.filter((each) => each !== fromSystemd)
  const hasTls = tlsCert !== undefined && tlsKey !== undefined
  return {
    ...{ listen: addresses, insecureListen, allowHosts: allowHost, allowOrigins: allowOrigin },
    ...(hasTls && { tls: { certFile: absolutePath(tlsCert), keyFile: absolutePath(tlsKey) } }),
    ...(socket !== undefined && {
      socket: { path: absolutePath(socket), ...defined({ mode: values.socketMode }) },
    }),
  }
}

/** Checks what a start would refuse. Throws ConfigurationError with the places of what comes from a
 *  file or from the environment, else the error of the start. */
export async function checkConfiguration(
  configuration: Configuration,
  { checkListen, checkSocket, readPair }: ServerChecks,
): Promise<void> {
  const { listen, insecureListen, tls, socket } = describedServer(configuration)
  const problems: string[] = []
  const attempt = async (name: ConfiguredName, check: () => unknown) => {
    try {
      await check()
    } catch (error) {
      const { from, place } = configuration.origins[name]
      // Whether something listens there is not a question of the configuration.
      if (isCode(error, 'EBUSY')) return
      if (!(error instanceof TailraceError) || from === 'flag') throw error
      const start = from === 'file' ? `${place}: ${fieldOf(name)}` : place
      problems.push(`${start}: ${error.message}`)
    }
  }
  await attempt('listen', () => checkListen({ listen, insecureListen, ...defined({ tls }) }))
  if (tls) await attempt('tlsCert', () => readPair(tls))
  if (socket) await attempt('socket', () => checkSocket(socket))
  if (problems.length > 0) throw new ConfigurationError(problems)
}

/** Returns the name of an option's field in a file. */
export function fieldOf(name: ConfiguredName): string {
  return configuredOptions[name].configured?.field ?? name
}

/** The width of the names of fields in the table. */
const nameWidth = 16

/** Writes the values of a configuration and their places, one line for each field. */
export function configurationLines(configuration: Configuration): readonly string[] {
  return configuredNames.map((name) => {
    const { from, place } = configuration.origins[name]
    const where = from === 'default' ? from : place
    return `${fieldOf(name).padEnd(nameWidth)} ${valueText(configuration, name)}  (${where})`
  })
}

/** Returns a configuration as JSON. */
export function configurationJson(configuration: Configuration): unknown {
  const fields = configuredNames.map((name) => {
    const { from, place } = configuration.origins[name]
    const value = jsonValue(configuration, name)
    return [fieldOf(name), { value, from, ...(place !== '' && { place }) }] as const
  })
  return { file: configuration.file ?? null, fields: Object.fromEntries(fields) }
}

function jsonValue(configuration: Configuration, name: ConfiguredName): unknown {
  if (name === 'data') return configuration.directory
  const value = configuration.values[name]
  if (name === 'socketMode' && typeof value === 'number') return modeText(value)
  return value ?? null
}

/** Writes one value as people read it. */
export function valueText(configuration: Configuration, name: ConfiguredName): string {
  const value = jsonValue(configuration, name)
  const option: Option<unknown, string> = configuredOptions[name]
  if (value === null) return option.fallback ?? 'none'
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.join(', ')
  if (name === 'idleExit' && value === true) return 'true (5 minutes)'
  return String(value)
}

function modeText(mode: number): string {
  return mode.toString(8).padStart(4, '0')
}
