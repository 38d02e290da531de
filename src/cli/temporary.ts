/** A server of our own on a temporary store, for measurements.
 *  Invariant: however the use of it ends, an interrupt included, the server is ended and the
 *  directory removed. */

import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Store } from '../api/store.js'
import { ensureServer, isAlive, urlOf } from '../local/local.js'

/** The time after SIGTERM before the server is killed, in ms. */
const endMs = 5_000
const endCheckMs = 10

type TemporaryServer = {
  readonly store: Store
  readonly pid: number
  /** The address for clients in other processes. */
  readonly url: string
}

/** Starts a server process, connects to it, uses it, and ends it. */
export async function withTemporaryServer<T>(
  use: (server: TemporaryServer) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  const terminate = () => process.exit(143) // The listeners of `exit` do the rest.
  process.once('exit', remove).once('SIGTERM', terminate)
  try {
    const record = await ensureServer(directory)
    const kill = () => signal(record.pid, 'SIGKILL')
    process.prependOnceListener('exit', kill)
    try {
      const { connect } = await import('../client/node.js')
      const url = urlOf(record)
      await using store = await connect(url)
      return await use({ store, pid: record.pid, url })
    } finally {
      signal(record.pid, 'SIGTERM')
      const killAt = performance.now() + endMs
      while (isAlive(record)) {
        if (performance.now() > killAt) kill()
        await delay(endCheckMs)
      }
      process.off('exit', kill)
    }
  } finally {
    remove()
    process.off('exit', remove).off('SIGTERM', terminate)
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // The process has ended by itself.
  }
}
