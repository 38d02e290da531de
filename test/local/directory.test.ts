/** The data directory's files and the socket's place. */

import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fileIdentity } from '../../src/base/file-identity.js'
import {
  defaultDirectory,
  ensureToken,
  prepareDirectory,
  readServerRecord,
  readToken,
  removeServerRecord,
  type ServerRecord,
  socketNow,
  socketPathMax,
  socketPathOf,
  writeServerRecord,
} from '../../src/local/directory.js'

let directory = ''

beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'tailrace-local-')))
})
afterEach(() => rm(directory, { recursive: true }))

async function modeOf(name: string): Promise<number> {
  return (await stat(join(directory, name))).mode & 0o777
}

describe('the data directory', () => {
  it('is TAILRACE_DATA, else under XDG_STATE_HOME, else under the home directory', () => {
    expect(defaultDirectory({ TAILRACE_DATA: '/d', XDG_STATE_HOME: '/x' })).toBe('/d')
    expect(defaultDirectory({ XDG_STATE_HOME: '/x' })).toBe('/x/tailrace')
    expect(defaultDirectory({ XDG_STATE_HOME: 'relative' })).toMatch(/\/\.local\/state\/tailrace$/)
    expect(defaultDirectory({})).toMatch(/\/\.local\/state\/tailrace$/)
  })

  it('is made with its parents, for its owner only', async () => {
    const made = await prepareDirectory(join(directory, 'a', 'b'))
    expect(made).toBe(join(directory, 'a', 'b'))
    expect(await modeOf('a/b')).toBe(0o700)
    expect(await prepareDirectory(made)).toBe(made)
  })
})

describe('the token', () => {
  it('is made once: 64 hex digits, for its owner only', async () => {
    expect(await readToken(directory)).toBeUndefined()
    const tokens = await Promise.all(
      [1, 2, 3].map(() => ensureToken(directory).catch(() => 'lost')),
    )
    const token = await ensureToken(directory)
    expect(token).toMatch(/^[0-9a-f]{64}$/)
    expect(tokens.filter((other) => other !== 'lost' && other !== token)).toEqual([])
    expect(await modeOf('token')).toBe(0o600)
  })

  it('that is damaged is EMISCONFIGURED', async () => {
    await writeFile(join(directory, 'token'), 'short')
    await expect(ensureToken(directory)).rejects.toMatchObject({ code: 'EMISCONFIGURED' })
  })
})

describe('server.json', () => {
  const recordOf = async (): Promise<ServerRecord> => ({
    pid: 5,
    startTime: '77',
    socket: '/s',
    listen: [],
    urls: [],
    version: '0',
    storeId: 'a',
    directory: await fileIdentity(directory),
    started: 1,
  })

  it('is there as it was written, and is removed by its own process only', async () => {
    const record = await recordOf()
    expect(await readServerRecord(directory)).toBeUndefined()
    await writeServerRecord(directory, record)
    expect(await readServerRecord(directory)).toEqual(record)
    expect(await modeOf('server.json')).toBe(0o600)
    await removeServerRecord(directory, { ...record, startTime: '78' })
    expect(await readServerRecord(directory)).toEqual(record)
    await removeServerRecord(directory, record)
    expect(await readdir(directory)).toEqual([])
  })

  it('that came with a copy of its directory says nothing there', async () => {
    const record = await recordOf()
    await writeServerRecord(directory, record)
    const copy = `${directory}-copy`
    await cp(directory, copy, { recursive: true })
    try {
      expect(await readServerRecord(copy)).toBeUndefined()
      await removeServerRecord(copy, record)
      expect(await readdir(copy)).toEqual(['server.json'])
    } finally {
      await rm(copy, { recursive: true })
    }
    const moved = `${directory}-moved`
    await rename(directory, moved)
    expect(await readServerRecord(moved)).toEqual(record)
    await rename(moved, directory)
  })

  it('of a directory that was moved gives the socket at its new place', async () => {
    const record = { ...(await recordOf()), socket: '/before/tailrace.sock' }
    expect(socketNow(directory, record)).toBe(`${directory}/tailrace.sock`)
    expect(socketNow(directory, { ...record, socket: '/run/tailrace-1.sock' })).toBe(
      '/run/tailrace-1.sock',
    )
    expect(() => socketNow(`/${'d'.repeat(120)}`, record)).toThrow(
      expect.objectContaining({ code: 'EBUSY', message: expect.stringContaining('pid 5') }),
    )
  })
})

describe('the socket', () => {
  /** A directory whose socket would have a path of so many bytes. */
  function directoryOf(pathSize: number): string {
    return `/${'d'.repeat(pathSize - '/'.length - '/tailrace.sock'.length)}`
  }

  it('is in the data directory up to 100 bytes', async () => {
    const at = directoryOf(socketPathMax)
    expect(await socketPathOf(at, {})).toBe(`${at}/tailrace.sock`)
  })

  it('is in the runtime directory above, by hash', async () => {
    const path = await socketPathOf(directoryOf(socketPathMax + 1), { XDG_RUNTIME_DIR: directory })
    expect(path).toBe(`${directory}/tailrace-c228d485f229a434.sock`)
  })

  it('counts bytes, not characters', async () => {
    const path = await socketPathOf(`/${'é'.repeat(45)}`, { XDG_RUNTIME_DIR: directory })
    expect(path.startsWith(`${directory}/tailrace-`)).toBe(true)
  })

  it('is in a directory of its own under /tmp where there is no runtime directory', async () => {
    const root = `/tmp/tailrace-${process.getuid?.()}`
    await mkdir(root, { recursive: true, mode: 0o700 })
    await chmod(root, 0o755)
    const path = await socketPathOf(directoryOf(200), {})
    expect(path).toMatch(new RegExp(`^${root}/[0-9a-f]{16}\\.sock$`))
    expect((await stat(root)).mode & 0o777).toBe(0o700)
    const long = `/${'r'.repeat(socketPathMax)}`
    expect(await socketPathOf(directoryOf(200), { XDG_RUNTIME_DIR: long })).toBe(path)
  })
})
