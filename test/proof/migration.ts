/** A store of format 1 is brought up to this format by a process that is killed at one of its system calls,
 *  whose disk fails, or whose power goes at any moment: whatever is left opens, and has everything that the
 *  store had. See rfc/4, rule 20, and rfc/16. */

import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { toTailraceError } from '../../src/error.js'
import { checkStore, open } from '../../src/open.js'
import { mulberry32 } from '../engine/flaky.js'
import { bundle } from '../support/bundle.js'
import { oldContent, oldContentOf, unpackOld } from '../support/old-store.js'
import { crashImages, type DiskFiles } from './crash-images.js'
import { type Traced, trace } from './strace.js'
import { passing } from './write-order.js'

/** The calls before which a process is killed, and which fail. */
export const migrationCalls: readonly string[] = [
  ...['pwritev', 'pwrite64', 'writev', 'fdatasync', 'fsync'],
  ...['ftruncate', 'rename', 'unlink', 'mkdir', 'rmdir'],
]

export type MigrationOptions = {
  readonly seed: number
  /** Images with some of the sectors at each moment. */
  readonly samples: number
  /** Of 1: images that are tried. */
  readonly share: number
  /** A fault (see strace.ts), `rename:signal=SIGKILL:when=1`. */
  readonly inject?: string
}

export type MigrationFindings = {
  readonly problems: readonly string[]
  readonly images: number
  /** True if the fault came, and a process was killed or a call failed. */
  readonly came: boolean
}

const problemsMax = 20

/** Tries one migration. */
export async function tryMigration(options: MigrationOptions): Promise<MigrationFindings> {
  const { seed, samples, share, inject } = options
  const above = await realpath(await mkdtemp(join(tmpdir(), 'tailrace-migration-')))
  try {
    await using programs = await bundle({ child: 'test/proof/migration-child.ts' })
    const data = await unpackOld(join(above, 'data'))
    const initial = await filesIn(join(data, 'store'))
    const told = join(above, 'told')
    const traced = await trace({
      args: [programs.files.child, data, told],
      disk: join(data, 'store'),
      ...{ passing, told, inject: inject === undefined ? [] : [inject] },
      environment: { UV_THREADPOOL_SIZE: '1' },
    })
    const failed = traced.calls.some((call) => 'ok' in call && !call.ok)
    const came = traced.signal !== null || failed || saidIn(traced).startsWith('refused')
    const problems = saidWrong(traced, came)
    problems.push(...(await wrongIn(data)).map((problem) => `afterwards: ${problem}`))
    const random = mulberry32(seed)
    let images = 0
    for (const image of crashImages(traced.calls, samples, random, initial)) {
      // The moments at which the new store takes its place are few.
      if (random() >= share && !image.name.includes('rename')) continue
      images++
      const found = await wrongInImage(join(above, 'image'), data, image.files)
      problems.push(...found.map((problem) => `${image.name}: ${problem}`))
      if (problems.length > problemsMax) break
    }
    return { problems, images, came }
  } finally {
    await rm(above, { recursive: true, force: true })
  }
}

function saidIn({ calls }: Traced): string {
  return calls.flatMap((call) => (call.type === 'told' ? [call.text] : [])).join('')
}

function saidWrong(traced: Traced, came: boolean): string[] {
  if (traced.signal === 'SIGKILL') return []
  const said = saidIn(traced)
  if (traced.code !== 0) return [`the child ended with ${traced.code}: ${traced.stderr}`]
  if (said.startsWith('open')) return []
  const clear = /^refused (EIO|ENOSPC) .+(check the directory and the disk|open it again)/
  return came && clear.test(said) ? [] : [`said: ${said}`]
}

/** Puts the files in the place of the store of another data directory, and looks at it. It has no
 *  `format.json`, since it is a copy of what was a copy, whose id that file need not have yet. */
async function wrongInImage(image: string, data: string, files: DiskFiles): Promise<string[]> {
  await mkdir(join(image, 'store'), { recursive: true, mode: 0o700 })
  try {
    for (const [path, bytes] of files) {
      const copy = join(image, relative(data, path))
      await mkdir(dirname(copy), { recursive: true })
      await writeFile(copy, bytes)
    }
    return await wrongIn(image)
  } finally {
    await rm(image, { recursive: true, force: true })
  }
}

/** What is wrong with a store that had what the fixture has. */
async function wrongIn(directory: string): Promise<string[]> {
  try {
    {
      await using store = await open({ directory })
      const content = await oldContentOf(store)
      if (!isDeepStrictEqual(content, oldContent)) return ['the content is another']
      const names = await readdir(join(directory, 'store'))
      if (names.includes('migration')) return ['the directory of the migration is there']
    }
    const { findings } = await checkStore({ directory })
    return findings.map(({ code, message }) => `${code} ${message}`)
  } catch (error) {
    return [`the store does not open or read: ${toTailraceError(error)}`]
  }
}

async function filesIn(store: string): Promise<DiskFiles> {
  const files = new Map<string, Buffer>()
  for (const name of await readdir(store)) {
    if (!passing.test(name)) files.set(join(store, name), await readFile(join(store, name)))
  }
  return files
}
