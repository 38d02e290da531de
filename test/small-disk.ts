/** A disk that is really full soon: a tmpfs of a given size. It takes the right to mount, which root
 *  and CI have; without it the tests that need it are reported as skipped, with this reason. */

import { execFileSync } from 'node:child_process'
import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'vitest'

export type SmallDisk = AsyncDisposable & { readonly directory: string }

/** `size` in bytes. Dispose it after everything in it is closed. */
export async function smallDisk(size: number, context: TestContext): Promise<SmallDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-small-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory], {
      stdio: 'pipe',
    })
  } catch (error) {
    await rmdir(directory)
    context.skip(`a full disk was not tried: a tmpfs could not be mounted (${error})`)
  }
  return {
    directory,
    [Symbol.asyncDispose]: async () => {
      execFileSync('umount', [directory])
      await rmdir(directory)
    },
  }
}
