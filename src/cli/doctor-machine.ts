/** Checks of the machine, for `tailrace doctor`: Node, native code, the clock, limits. See rfc/30,
 *  rule 15.
 *  Invariant: each `judge…` is pure, so that a test can show it any machine. */

import { existsSync, readFileSync, watch } from 'node:fs'
import { hostname, release } from 'node:os'
import { dirname } from 'node:path'
import { openFilesMax } from '../base/limits.js'
import { isInherited } from '../base/posix.js'
import { reasonOf } from '../error.js'
import { oldestNode } from '../local/installation.js'
import { type Diagnosis, type Examined, fail, ok, warn } from './doctor-check.js'
import { sizeText } from './units.js'
import { absolutePath } from './utf8.js'

/** Judges a version of Node. */
export function judgeNode(version: string, majorMin: number): readonly Diagnosis[] {
  if (Number(version.split('.')[0]) >= majorMin) return ok(`Node ${version}`)
  const advice = `install Node ${majorMin} or newer, or put it first in PATH`
  return fail(`Node ${version} is too old`, advice)
}

/** Looks at the version of Node. */
export function lookAtNode(): readonly Diagnosis[] {
  return judgeNode(process.versions.node, oldestNode())
}

/** Platforms that the tests run on, and those that should do. */
const platforms: ReadonlySet<string> = new Set(['linux', 'darwin', 'freebsd'])

/** Judges a platform. */
export function judgePlatform(platform: string, arch: string): readonly Diagnosis[] {
  const name = `${platform} ${arch}`
  if (!platforms.has(platform)) return fail(`${name} is not supported`, 'use Linux or macOS')
  if (platform === 'linux') return ok(`${name} ${release()}`)
  const lacks =
    'jobs are not followed into other sessions, and holes are not given back to the disk'
  return warn(`${name}: ${lacks}`, 'use Linux for a server with many jobs')
}

/** Looks at the platform. */
export function lookAtPlatform(): readonly Diagnosis[] {
  return judgePlatform(process.platform, process.arch)
}

/** Looks whether the native parts of libraries load. */
export async function lookAtNativeParts(): Promise<readonly Diagnosis[]> {
  const platform = `${process.platform}-${process.arch}`
  const parts: [string, () => unknown][] = [
    [`@lmdb/lmdb-${platform}`, () => import('../engine/directory.js')],
    [`@koromix/koffi-${platform}`, () => isInherited(0)],
  ]
  const diagnoses: Diagnosis[] = []
  for (const [name, load] of parts) {
    try {
      await load()
    } catch (error) {
      const advice = `install ${name}, or install with optional dependencies`
      diagnoses.push(...fail(`${name} does not load: ${reasonOf(error)}`, advice))
    }
  }
  if (diagnoses.length > 0) return diagnoses
  const { hashesNatively } = await import('../blob/hash.js')
  return judgeHash(hashesNatively)
}

/** Judges the hash; the other native parts load. */
export function judgeHash(isNative: boolean): readonly Diagnosis[] {
  if (isNative) return ok('lmdb, koffi and blake-hash load')
  const text =
    '@napi-rs/blake-hash does not load: large values are hashed in wasm, seven times slower'
  return warn(text, 'install with optional dependencies')
}

/** Judges the bound of open files; `filesMax` undefined: there is none. */
export function judgeOpenFiles(
  filesMax: number | undefined,
  front: {
    readonly connectionsWithin: (files: number | undefined) => number
    readonly connectionsMax: number
  },
): readonly Diagnosis[] {
  const connections = front.connectionsWithin(filesMax)
  const files = filesMax === undefined ? 'any number of' : String(filesMax)
  const text = `${files} open files: ${connections} connections over TCP`
  if (connections >= front.connectionsMax) return ok(text)
  const advice = 'raise the hard limit: LimitNOFILE=65536 (systemd), ulimit -Hn, docker --ulimit'
  return warn(`${text} of ${front.connectionsMax}`, advice)
}

/** Looks at the bound of open files. */
export async function lookAtOpenFiles(): Promise<readonly Diagnosis[]> {
  return judgeOpenFiles(openFilesMax(), await import('../server/front.js'))
}

/** Looks whether the directory of the certificate can be watched. */
export function lookAtInotify({ configuration }: Examined): readonly Diagnosis[] {
  const file = 'values' in configuration ? configuration.values.tlsCert : undefined
  if (file === undefined) return ok('no certificate is watched')
  const directory = dirname(absolutePath(file))
  try {
    watch(directory, { persistent: false }).close()
    return ok(`changes in ${directory} are seen`)
  } catch (error) {
    const text = `changes in ${directory} are not seen: ${reasonOf(error)}`
    return warn(text, 'raise fs.inotify.max_user_instances (sysctl), or send SIGHUP after a change')
  }
}

/** The memory below which a server has little room for clients and their bodies, in bytes. */
const memoryMin = 256 * 1024 * 1024

/** Judges the bound of memory, in bytes; undefined: there is none. */
export function judgeMemory(limit: number | undefined): readonly Diagnosis[] {
  if (limit === undefined) return ok('no bound of a cgroup')
  const text = `a cgroup bounds the memory to ${sizeText(limit)}`
  if (limit >= memoryMin) return ok(text)
  return warn(text, `give ${sizeText(memoryMin)} or more: above the bound the server is killed`)
}

/** Looks at the bound of memory. */
export function lookAtMemory(): readonly Diagnosis[] {
  return judgeMemory(memoryLimit((path) => readFileSync(path, 'utf8')))
}

/** Numbers of cgroup v1 that stand for no bound are near 2^63. */
const noBound = 2 ** 60

/** Reads the smallest bound of this process's cgroup and those above it. Undefined where there is
 *  none. `read` reads a file, or throws. */
export function memoryLimit(read: (path: string) => string): number | undefined {
  const tryRead = (path: string) => {
    try {
      return read(path).trim()
    } catch {
      return undefined
    }
  }
  const own = /^0::(.*)$/m.exec(tryRead('/proc/self/cgroup') ?? '')?.[1] ?? '/'
  const parts = own.split('/').filter((part) => part !== '')
  const paths = parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`)
  const files = ['', ...paths].map((path) => `/sys/fs/cgroup${path}/memory.max`)
  const found = [...files, '/sys/fs/cgroup/memory/memory.limit_in_bytes']
    .map((path) => Number(tryRead(path) || Number.NaN))
    .filter((bytes) => Number.isFinite(bytes) && bytes > 0 && bytes < noBound)
  return found.length === 0 ? undefined : Math.min(...found)
}

/** Looks whether this is a container, in which the clock and the disk are those of the host. */
export function lookAtContainer({ environment }: Examined): readonly Diagnosis[] {
  return judgeContainer({
    isDocker: existsSync('/.dockerenv'),
    isPodman: existsSync('/run/.containerenv'),
    isKubernetes: environment['KUBERNETES_SERVICE_HOST'] !== undefined,
  })
}

/** Judges what tells of a container. */
export function judgeContainer(signs: {
  readonly isDocker: boolean
  readonly isPodman: boolean
  readonly isKubernetes: boolean
}): readonly Diagnosis[] {
  const { isDocker, isPodman, isKubernetes } = signs
  if (isKubernetes) return ok(`a pod (${hostname()}): the clock and the bounds are of its node`)
  if (!isDocker && !isPodman) return ok('none')
  return ok(`a container (${hostname()}): the clock is of its host, and must be set there`)
}
