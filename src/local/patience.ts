/** The patience of a start: a bound for the time in which nothing happens, that a migration of the store
 *  moves on as long as its files grow. See rfc/13, rule 8, and rfc/4, rule 20.
 *  Invariant: this file imports no package, since each start of the CLI loads it. It looks at files only
 *  while somebody waits. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { hasSystemCode } from '../error.js'

/** The time between two looks, in ms. */
const lookMs = 200

export type PatienceOptions = {
  /** The time in which nothing happens, in ms. */
  readonly ms: number
  /** The time in which the files of a migration do not grow, in ms. */
  readonly migratingMs: number
  /** Called with the bytes that a migration has written so far, and about those that it will write. */
  readonly onMigration?: ((done: number, total: number) => void) | undefined
}

/** A signal that aborts (TimeoutError) once nothing has happened for too long. */
export class StartPatience implements Disposable {
  readonly #directory: string
  readonly #options: PatienceOptions
  readonly #abort = new AbortController()
  readonly #timer: NodeJS.Timeout
  #moved = performance.now()
  #done: number | undefined

  constructor(directory: string, options: PatienceOptions) {
    this.#directory = directory
    this.#options = options
    this.#timer = setInterval(() => void this.#look(), lookMs) // it never rejects
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    const { ms, migratingMs, onMigration } = this.#options
    const migration = await migrationIn(this.#directory)
    if (migration) onMigration?.(migration.done, migration.total)
    // Its end is something that happens, too: the store opens then.
    if (migration?.done !== this.#done) {
      this.#done = migration?.done
      this.#moved = performance.now()
    }
    if (performance.now() - this.#moved < (migration ? migratingMs : ms)) return
    this.#abort.abort(new DOMException('nothing has happened for too long', 'TimeoutError'))
  }
}

/** Returns how far the migration of a data directory's store is, in bytes of files; undefined where none
 *  is under way, or it cannot be seen. Never throws. */
async function migrationIn(
  directory: string,
): Promise<{ readonly done: number; readonly total: number } | undefined> {
  const store = join(directory, 'store')
  try {
    const names = await readdir(join(store, 'migration'), { recursive: true })
    const sizes = await Promise.all(names.map((name) => sizeOf(join(store, 'migration', name))))
    const done = sizes.reduce((sum, size) => sum + size, 0)
    return { done, total: Math.max(done, await sizeOf(join(store, 'data.mdb'))) }
  } catch {
    return undefined
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    const found = await stat(path)
    return found.isFile() ? found.size : 0
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return 0
    throw error
  }
}
