/** Real pipes for the stdin, stdout and stderr of jobs. What Node gives a child for a pipe is a
 *  socket, and a script that opens `/dev/stderr` then fails with ENXIO. See rfc/11.
 *  Invariant: nothing is left in the file system once a pipe was made, nor any descriptor after
 *  `close`. Where the system has no `mkfifo`, there are no pipes, and sockets must do. */

import { execFile } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** Pipes that are made at once, and so the most that wait to be used. */
const batch = 24

/** Two descriptors; who takes a pipe closes both. */
export type Pipe = { readonly read: number; readonly write: number }

export class PipePool {
  readonly #spare: Pipe[] = []
  #making: Promise<void> | undefined
  #missing = false
  #closed = false

  /** `count` pipes (at most `batch`), or undefined where the system has none. Throws what the system
   *  says where there are no descriptors left. */
  async take(count: number): Promise<Pipe[] | undefined> {
    while (this.#spare.length < count && !this.#missing && !this.#closed) {
      this.#making ??= this.#make().finally(() => {
        this.#making = undefined
      })
      await this.#making
    }
    return this.#spare.length < count ? undefined : this.#spare.splice(0, count)
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#making?.catch(() => {})
    for (const pipe of this.#spare.splice(0)) closePipe(pipe)
  }

  async #make(): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-pipes-'))
    try {
      const paths = Array.from({ length: batch }, (_, index) => join(directory, `${index}`))
      try {
        await promisify(execFile)('mkfifo', ['-m', '600', ...paths])
      } catch {
        this.#missing = true
        return
      }
      for (const path of paths) this.#spare.push(openPipe(path))
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
}

export function closePipe(pipe: Pipe): void {
  closeSync(pipe.read)
  closeSync(pipe.write)
}

/** Each end is an open file of its own, so that our end may be non-blocking and the job's is not. */
function openPipe(path: string): Pipe {
  // Opening one end waits for the other, but for a reader that does not wait.
  const first = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const write = openSync(path, constants.O_WRONLY)
    try {
      return { read: openSync(path, constants.O_RDONLY), write }
    } catch (error) {
      closeSync(write)
      throw error
    }
  } finally {
    closeSync(first)
  }
}
