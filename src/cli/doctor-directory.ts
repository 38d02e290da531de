/** Checks of a data directory and its disk, for `tailrace doctor`. See rfc/30, rule 15.
 *  Invariant: nothing is changed. The file of the check of syncs has no name while it is written, so
 *  that it goes with this process. */

import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readdir, stat, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { assertOwnDirectory, assertOwnFile } from '../base/own.js'
import { hasSystemCode, isCode, reasonOf } from '../error.js'
import { readServerRecord } from '../local/directory.js'
import { logSizeMax } from '../local/log-file.js'
import { type Diagnosis, type Examined, fail, ok, warn } from './doctor-check.js'
import { sizeText } from './units.js'

const groupAndOthers = 0o077

/** Files that only their owner may open. */
const secrets = ['token', 'tailrace.sock']

/** Looks at the owner and the modes of the directory, and of what programs obey in it. */
export async function lookAtDirectory({
  directory,
  isThere,
}: Examined): Promise<readonly Diagnosis[]> {
  if (!isThere) {
    const advice = 'nothing to do: the first command that writes makes it (or name another: --data)'
    return warn(`${directory} is not there`, advice)
  }
  if (!(await stat(directory)).isDirectory()) {
    return fail(`${directory} is not a directory`, 'name another one: --data, TAILRACE_DATA')
  }
  try {
    await assertOwnDirectory(directory)
    const files = ['format.json', 'server.json', 'token', 'tailrace.sock', 'store']
    for (const name of files) await assertOwnFile(join(directory, name))
  } catch (error) {
    if (!isCode(error, 'EPERM')) throw error
    return fail(error.message, 'no command works with it before that')
  }
  // In a directory that is closed nobody reaches what is in it, whatever its modes.
  if (!(await isOpen(directory))) return ok(directory)
  const advice = `chmod 700 ${directory} closes all that is in it`
  for (const name of secrets) {
    const path = join(directory, name)
    if (await isOpen(path)) return fail(`others may open ${path}: commands refuse it`, advice)
  }
  const store = join(directory, 'store')
  if (await isOpen(store)) {
    return warn(`others may look into ${store}: the next start of a server closes it`, advice)
  }
  return ok(directory)
}

/** Resolves to true if the group or others may do anything with a file. */
async function isOpen(path: string): Promise<boolean> {
  const there = await stat(path).catch(() => undefined)
  return there !== undefined && (there.mode & groupAndOthers) !== 0
}

/** Types of file systems in statfs(2), on Linux. */
const networks: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff53_4d42, 'CIFS'],
  [0xfe53_4d42, 'SMB2'],
  [0x0102_1997, '9p'],
  [0x00c3_6400, 'Ceph'],
  [0x5346_414f, 'AFS'],
  [0x7375_7245, 'Coda'],
  [0x0116_1970, 'GFS2'],
  [0x7461_636f, 'OCFS2'],
  [0x0bd0_0bd0, 'Lustre'],
])
const inMemory: ReadonlyMap<number, string> = new Map([
  [0x0102_1994, 'tmpfs'],
  [0x8584_58f6, 'ramfs'],
])
const fuse = 0x6573_5546
const overlay = 0x794c_7630

/** Judges the type of a file system, as statfs(2) of Linux numbers it. */
export function judgeFileSystem(type: number): readonly Diagnosis[] {
  const network = networks.get(type)
  if (network !== undefined) {
    const text = `${network}: a network file system, whose locks and syncs cannot be relied on`
    return warn(text, 'move the directory to a local disk, and let others reach it over TCP')
  }
  const memory = inMemory.get(type)
  if (memory !== undefined) {
    return warn(`${memory}: all is lost when the machine ends`, 'use a disk for what is to stay')
  }
  if (type === fuse) {
    return warn('FUSE: perhaps a network file system', 'use a local disk, unless you know better')
  }
  if (type === overlay) {
    const text = 'overlay: the layer of a container, which goes with it'
    return warn(text, 'mount a volume at the data directory')
  }
  return ok(`local (0x${type.toString(16)})`)
}

/** Looks at the file system of the directory. */
export async function lookAtFileSystem({ existing }: Examined): Promise<readonly Diagnosis[]> {
  if (process.platform !== 'linux') return ok('not known on this platform')
  return judgeFileSystem((await statfs(existing)).type)
}

/** The free part and the free bytes of a disk below which doctor warns. */
const freeShareMin = 0.1
const freeSizeMin = 1024 ** 3

/** Judges the space of a disk. A file system that counts no inodes has 0 `files`. */
export function judgeSpace(disk: {
  readonly size: number
  readonly free: number
  readonly files: number
  readonly freeFiles: number
  /** The free bytes that the store needs to go on at all. */
  readonly freeSpaceMin: number
}): readonly Diagnosis[] {
  const { size, free, files, freeFiles, freeSpaceMin } = disk
  const text = `${sizeText(free)} of ${sizeText(size)} free`
  const advice = 'make space: remove what is not needed, "tailrace gc", or a larger disk'
  const inodes = `${freeFiles} of ${files} inodes free`
  if (files > 0 && freeFiles === 0) return fail(inodes, 'remove files: none can be made')
  if (size > 0 && free < freeSpaceMin) return fail(`${text}: writes are refused (ENOSPC)`, advice)
  if (size > 0 && (free < freeSizeMin || free / size < freeShareMin)) return warn(text, advice)
  if (files > 0 && freeFiles / files < freeShareMin) return warn(inodes, 'remove files')
  return ok(files > 0 ? `${text}, ${inodes}` : text)
}

/** Looks at the space of the directory's disk. */
export async function lookAtSpace({ existing }: Examined): Promise<readonly Diagnosis[]> {
  const { bsize, blocks, bavail, files, ffree } = await statfs(existing)
  const { freeSpaceMin } = await import('../engine/directory.js')
  const disk = { size: blocks * bsize, free: bavail * bsize, files, freeFiles: ffree }
  return judgeSpace({ ...disk, freeSpaceMin })
}

/** The number of syncs, and the bytes that each of them makes durable. */
const syncs = 7
const syncedSize = 4096
/** The median time of a sync from which on doctor warns, in ms. */
const syncMsMax = 50

/** Judges the times of syncs, in ms. */
export function judgeSyncs(times: readonly number[]): readonly Diagnosis[] {
  const sorted = [...times].sort((a, b) => a - b)
  const median = sorted[sorted.length >> 1] ?? 0
  const text = `a write of ${syncedSize} bytes is durable after ${median.toFixed(2)} ms (median of ${times.length})`
  if (median <= syncMsMax) return ok(text)
  return warn(text, 'each commit takes that long: use another disk, or look what else writes to it')
}

/** Writes to a file in the directory, makes it durable, reads it back, and measures that. */
export async function lookAtSyncs({ directory, isThere }: Examined): Promise<readonly Diagnosis[]> {
  if (!isThere) return ok('not tried: the directory is not there')
  const path = join(directory, `.doctor-${randomBytes(8).toString('hex')}`)
  const advice = `look at the disk of ${directory} (dmesg), its mount options, and its space`
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL
  try {
    await using file = await open(path, flags, 0o600)
    await unlink(path) // the open file stays
    const times: number[] = []
    for (let at = 0; at < syncs; at++) {
      const bytes = randomBytes(syncedSize)
      const started = performance.now()
      await file.write(bytes, 0, syncedSize, at * syncedSize)
      await file.datasync()
      times.push(performance.now() - started)
      const back = Buffer.alloc(syncedSize)
      await file.read(back, 0, syncedSize, at * syncedSize)
      if (!back.equals(bytes))
        return fail('the disk gives back other bytes than were written', advice)
    }
    return judgeSyncs(times)
  } catch (error) {
    return fail(`a file cannot be written and synced: ${reasonOf(error)}`, advice)
  }
}

/** The first moment at which this program can run: a clock before it is wrong. 2026-01-01. */
const clockMin = Date.UTC(2026, 0, 1)
/** A moment that nobody who runs this program sees. 2100-01-01. */
const clockMax = Date.UTC(2100, 0, 1)
/** The time, in ms, by which a record may be ahead: clocks of machines and containers are not one. */
const clockSlackMs = 2_000

/** Judges the clock. `newest` is the newest time in the directory, in ms since 1970; `steps` are
 *  readings of the monotonic clock in their order. */
export function judgeClock(
  now: number,
  newest: number | undefined,
  steps: readonly number[],
): readonly Diagnosis[] {
  const advice = 'set the clock (timedatectl set-ntp true); times of events and leases follow it'
  const date = new Date(now).toISOString()
  if (now < clockMin || now > clockMax) return fail(`the clock says ${date}`, advice)
  if (newest !== undefined && newest > now + clockSlackMs) {
    const seen = new Date(newest).toISOString()
    return fail(`the clock says ${date}, and the directory has something of ${seen}`, advice)
  }
  if (steps.some((step, at) => step < (steps[at - 1] ?? step))) {
    return fail('the monotonic clock goes back', 'start the machine again, or another kernel')
  }
  return ok(date)
}

/** The number of readings of the monotonic clock. */
const clockReadings = 1_000

/** Returns readings of the monotonic clock. */
function monotonicReadings(): readonly number[] {
  return Array.from({ length: clockReadings }, () => performance.now())
}

/** Looks at the clock, and at the times in the directory. */
export async function lookAtClock({ directory, now }: Examined): Promise<readonly Diagnosis[]> {
  const record = await readServerRecord(directory).catch(() => undefined)
  const journal = join(directory, 'store', 'journal')
  const segments = await readdir(journal).catch(() => [])
  // The newest segment is changed with each commit.
  const newest = segments.sort().at(-1)
  const paths = [join(directory, 'format.json'), ...(newest ? [join(journal, newest)] : [])]
  const stats = await Promise.all(paths.map((path) => stat(path).catch(() => undefined)))
  const times = [record?.started, ...stats.map((each) => each?.mtimeMs)]
  const known = times.filter((time) => time !== undefined)
  return judgeClock(now, known.length > 0 ? Math.max(...known) : undefined, monotonicReadings())
}

/** Looks whether a server in the background could write its log. */
export async function lookAtLog({ directory, isThere }: Examined): Promise<readonly Diagnosis[]> {
  const path = join(directory, 'server.log')
  if (!isThere) return ok('there is none yet')
  const advice = `chown or chmod it, or remove it: the server runs on, and its messages are lost`
  try {
    await using file = await open(path, constants.O_WRONLY | constants.O_APPEND)
    const { size } = await file.stat()
    if (size <= logSizeMax) return ok(`${path}, ${sizeText(size)}`)
    return warn(
      `${path} has ${sizeText(size)}`,
      'remove it: no server of this version writes so much',
    )
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return ok('there is none yet')
    return warn(`${path} cannot be written: ${reasonOf(error)}`, advice)
  }
}
