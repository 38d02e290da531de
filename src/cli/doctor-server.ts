/** Checks of the server of a data directory, its configuration and its store, for `tailrace doctor`.
 *  See rfc/30, rule 15.
 *  Invariant: no server is started, and the store is not opened. */

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isCode, reasonOf, TailraceError } from '../error.js'
import { readServerRecord, type ServerRecord, socketNow } from '../local/directory.js'
import { programVersion } from '../local/installation.js'
import { isAlive, urlOf } from '../local/local.js'
import { expiryWarningMs, readPair } from '../server/certificate.js'
import { ConfigurationError, UsageError } from './command.js'
import { checkConfiguration, describedServer } from './configuration-check.js'
import { type Diagnosis, type Examined, fail, ok, warn } from './doctor-check.js'
import { requestJson } from './server-request.js'

/** The time that a server has to answer, in ms. */
const answerMs = 5_000

/** Looks at the configuration. */
export async function lookAtConfiguration({
  configuration,
  serverChecks,
}: Examined): Promise<readonly Diagnosis[]> {
  const advice = 'mend it, then "tailrace serve --check" shows what a server would take'
  if ('problems' in configuration) {
    return configuration.problems.flatMap((problem) => fail(problem, advice))
  }
  try {
    // The certificate has a check of its own.
    await checkConfiguration(configuration, { ...serverChecks, readPair: async () => {} })
  } catch (error) {
    const problems = error instanceof ConfigurationError ? error.problems : [reasonOf(error)]
    return problems.flatMap((problem) => fail(problem, advice))
  }
  return ok(configuration.file ?? 'no file')
}

/** Returns the mistakes that an error of reading a configuration tells; undefined for any other
 *  error. */
export function problemsOf(error: unknown): readonly string[] | undefined {
  if (error instanceof ConfigurationError) return error.problems
  const isTold = error instanceof TailraceError || error instanceof UsageError
  return isTold ? [reasonOf(error)] : undefined
}

/** Judges the times of a certificate, in ms since 1970. */
export function judgeCertificate(
  { begins, expires }: { readonly begins: number; readonly expires: number },
  now: number,
): readonly Diagnosis[] {
  const advice = 'renew it; a server reads the new files by itself'
  const until = new Date(expires).toISOString()
  if (begins > now) {
    const from = new Date(begins).toISOString()
    return fail(`the certificate holds from ${from} on`, 'look at the clock, or wait')
  }
  if (expires <= now) return fail(`the certificate has expired ${until}`, advice)
  if (expires - now < expiryWarningMs) return warn(`the certificate expires ${until}`, advice)
  return ok(`the certificate expires ${until}`)
}

/** Looks at the certificate of the configuration, and at its key. */
export async function lookAtCertificate(examined: Examined): Promise<readonly Diagnosis[]> {
  const { configuration, now } = examined
  if ('problems' in configuration) return ok('not looked at: the configuration has mistakes')
  const { tls } = describedServer(configuration)
  if (!tls) return ok('none')
  try {
    return judgeCertificate(await readPair(tls), now)
  } catch (error) {
    if (!(error instanceof TailraceError)) throw error
    return fail(error.message, 'give the files of one certificate and its key')
  }
}

/** Returns the server that the record names if it lives. Unlike `findServer` it mends no mode. */
export async function livingServer(directory: string): Promise<ServerRecord | undefined> {
  const record = await readServerRecord(directory)
  if (!record || !isAlive(record)) return undefined
  return { ...record, socket: socketNow(directory, record) }
}

/** Looks at the record and the socket of a server: what a killed one has left, and its version. */
export async function lookAtRecord({ directory, server }: Examined): Promise<readonly Diagnosis[]> {
  const left = 'nothing to do: the next server replaces it'
  if (!server) {
    const record = await readServerRecord(directory)
    if (record) return warn(`server.json is of pid ${record.pid}, which has ended`, left)
    const socket = await stat(join(directory, 'tailrace.sock')).catch(() => undefined)
    return socket ? warn('tailrace.sock is there, and no server', left) : ok('none runs')
  }
  const [ours, text] = [programVersion(), `pid ${server.pid}, version ${server.version}`]
  if (server.version === ours) return ok(text)
  const advice = `tailrace stop --data ${directory}; the next command starts one of version ${ours}`
  return fail(`${text}, and this program is ${ours}: commands refuse it`, advice)
}

/** Asks the server that runs. */
export async function lookAtHealth({ directory, server }: Examined): Promise<readonly Diagnosis[]> {
  if (!server) return ok('none runs')
  try {
    const asked = performance.now()
    const url = { url: urlOf(server) }
    const health = await requestJson(url, 'GET', '/healthz', { timeoutMs: answerMs })
    const ms = (performance.now() - asked).toFixed(0)
    if (health['storeId'] === server.storeId) return ok(`it answers after ${ms} ms`)
    const text = `the socket is of another store (${String(health['storeId'])})`
    return fail(text, `tailrace stop --data ${directory}`)
  } catch (error) {
    const advice = `see ${directory}/server.log; then end process ${server.pid}`
    return fail(`it does not answer: ${reasonOf(error)}`, advice)
  }
}

/** Looks at the files of the store where no process has it open. */
export async function lookAtStoreFiles(examined: Examined): Promise<readonly Diagnosis[]> {
  const { directory, server } = examined
  const { lookAtStore } = await import('../engine/directory.js')
  const { readFormat, formatVersion } = await import('../engine/format-file.js')
  const format = await readFormat(directory).catch((error: unknown) => {
    if (isCode(error, 'EMISCONFIGURED')) return error
    throw error
  })
  if (format instanceof TailraceError) {
    return fail(format.message, 'use the version of the program that made it, or a newer one')
  }
  if (server) return ok(`format ${format?.format ?? 'unknown'}, in use by the server`)
  const { owner, data, journal } = await lookAtStore(directory)
  if (owner?.holds) {
    return ok(`format ${format?.format ?? 'unknown'}, in use by process ${owner.pid}`)
  }
  const isNone = data === 'missing' && journal.state === 'missing'
  if (!format && isNone) return ok('there is none')
  const restore = `restore a copy of ${directory}; "tailrace fsck --data ${directory}" tells what can be read`
  if (data !== 'whole') {
    const states = {
      ...{ missing: 'is missing', unfinished: 'was never finished, or was emptied' },
      ...{ foreign: 'is no store', cut: 'was cut' },
    }
    // A store that was being made when the power went has nothing, and is made anew.
    const isNew = !format && data === 'unfinished'
    const text = `store/data.mdb ${states[data]}`
    return isNew ? warn(text, 'nothing to do: the next opening makes it anew') : fail(text, restore)
  }
  switch (journal.state) {
    case 'missing':
      return format && format.format < formatVersion
        ? ok(`format ${format.format}, no journal yet`)
        : fail('store/journal has no segment', restore)
    case 'damaged':
      return fail(`${journal.path} is damaged at byte ${journal.from}`, restore)
    case 'torn': {
      const text = `${journal.path} ends in ${journal.size} bytes of a record that was not written to its end`
      return warn(
        text,
        'nothing to do: the next opening cuts it off; nobody was told that it is there',
      )
    }
    case 'whole':
      break
    default:
      return journal satisfies never
  }
  if (format && format.format < formatVersion) {
    const text = `format ${format.format}; this program writes ${formatVersion}`
    return warn(text, 'the next opening brings it up, for which the disk needs as much space again')
  }
  return ok(
    `format ${format?.format ?? formatVersion}; its last records are whole (all: tailrace fsck)`,
  )
}
