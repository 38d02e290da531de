/** The options of `tailrace serve`. See rfc/30, rule 1, and rfc/13.
 *  Invariant: an option of `configuredOptions` is declared here and nowhere else. Its flag, variable,
 *  field, help and completion follow from this. */

import { runningMaxDefault } from '../api/job.js'
import { logFormats, logLevelDefault, logLevels, logSizeMin } from '../local/log-file.js'
import {
  choice,
  configured,
  file,
  flag,
  many,
  option,
  UsageError,
  type ValueKind,
  type Variables,
} from './command.js'
import { data, json } from './options.js'
import { duration, integer, size } from './units.js'

/** A mode of a file in octal digits: its owner may read and write it, and nobody run it. */
const socketMode: ValueKind<number> = {
  parse: (text, what) => {
    if (/^0?6[06]{2}$/.test(text)) return Number.parseInt(text, 8)
    throw new UsageError(`${what} takes 0600, 0660 or 0666, not "${text}"`)
  },
  completes: ['0600', '0660', '0666'],
  scalars: ['string', 'number'],
}

const portMax = 65_535

/** The word that stands for the sockets that systemd passes, in the place of an address. */
export const fromSystemd = 'systemd'

/** A TCP address, which the server parses, or `systemd`. */
const address: ValueKind<string> = {
  parse: (text, what) => {
    if (text === fromSystemd) return text
    const [, port] = /^(?:\[[0-9a-fA-F:.]+\]|[^:[\]\s/]+):([0-9]{1,5})$/.exec(text) ?? []
    if (port !== undefined && Number(port) <= portMax) return text
    throw new UsageError(`${what} takes HOST:PORT or ${fromSystemd}, not "${text}"`)
  },
}

/** A size of the log, in bytes. */
const logSize: ValueKind<number> = {
  parse: (text, what, literal) => {
    const bytes = size.parse(text, what, literal)
    if (bytes >= logSizeMin) return bytes
    throw new UsageError(`${what} takes a size from 512K, not "${text}"`)
  },
}

/** The options that describe a server, which may also stand in its environment and its file. */
export const configuredOptions = configured({
  data,
  listen: many(
    '--listen <host:port>',
    'TCP as well; port 0: a free one; needs the token; systemd: the sockets that it passes',
    address,
  ),
  insecureListen: flag('--insecure-listen', 'allow an address that is not loopback, without TLS', {
    needs: 'listen',
  }),
  tlsCert: option(
    '--tls-cert <file>',
    'HTTPS alone on TCP: the certificate, and those that vouch for it, in PEM',
    file,
    { needs: ['tlsKey', 'listen'], excludes: ['insecureListen'], field: 'tls.cert' },
  ),
  tlsKey: option('--tls-key <file>', 'its key (0600); both are read again when they change', file, {
    needs: 'tlsCert',
    field: 'tls.key',
  }),
  socket: option(
    '--socket <path>',
    'another Unix socket; who can open it needs no token, and may do everything',
    file,
    { field: 'socket.path' },
  ),
  socketMode: option('--socket-mode <mode>', 'its mode: 0600 (default), 0660, 0666', socketMode, {
    needs: 'socket',
    field: 'socket.mode',
    fallback: '0600',
  }),
  allowOrigin: many('--allow-origin <origin>', 'a web page that may call', undefined, {
    reloads: true,
  }),
  allowHost: many('--allow-host <host>', 'a Host header that may call', undefined, {
    needs: 'listen',
    reloads: true,
  }),
  idleExit: option(
    '--idle-exit [ms]',
    'end when idle for so long (default: 5 minutes)',
    integer(1),
    { fallback: 'never' },
  ),
  jobs: option('--jobs <n>', 'jobs that run at once (default: 64)', integer(1), {
    reloads: true,
    fallback: String(runningMaxDefault),
  }),
  stopJobs: option(
    '--stop-jobs <time>',
    'a stop waits so long for jobs, and takes no more: 90s, 15m (default: it ends them)',
    duration,
    { fallback: '0' },
  ),
  logLevel: option(
    '--log-level <level>',
    'what the log has: error, warn, info (default), debug (each request)',
    choice(logLevels),
    { field: 'log.level', fallback: logLevelDefault, reloads: true },
  ),
  logFormat: option(
    '--log-format <format>',
    'text (default), or json: an object a line',
    choice(logFormats),
    { field: 'log.format', fallback: 'text' },
  ),
  logFile: option(
    '--log-file <file>',
    'the log in place of standard error; the one before it is FILE.1',
    file,
    { field: 'log.file' },
  ),
  logSize: option('--log-size <size>', 'of both together: 512K, 100M (default: 8M)', logSize, {
    field: 'log.size',
    needs: 'logFile',
    fallback: '8M',
  }),
})

/** All options of `serve`. */
export const serveOptions = {
  ...configuredOptions,
  config: option(
    '--config <file>',
    'the configuration file (default: $TAILRACE_CONFIG, or config.yaml in the data directory)',
    file,
  ),
  check: flag('--check', 'only check the configuration, and show it', { excludes: ['background'] }),
  json,
  background: flag('--background', 'started by a client', { hidden: true }),
  readyFd: option('--ready-fd <n>', 'closed when the server listens', integer(3), {
    hidden: true,
  }),
}

/** The environment variables that describe a server. */
export const serveVariables: readonly (keyof Variables & string)[] = [
  ...Object.values(configuredOptions).map(({ configured: places }) => places?.variable ?? ''),
  'TAILRACE_CONFIG',
]
