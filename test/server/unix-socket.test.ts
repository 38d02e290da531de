/** A Unix socket at a path that the options name, and who can open it. See rfc/13, rule 36. */

import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/node.js'
import { withPrivatePath } from '../../src/server/unix-socket.js'
import { Serving } from './serving.js'

let directory: string
let path: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-socket-'))
  path = join(directory, 'tailrace.sock')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

/** Listens as another program does. Its file stays when it ends if it is moved first. */
async function listenAt(place: string): Promise<AsyncDisposable> {
  const server = createServer()
  server.listen(`${place}.bound`)
  await once(server, 'listening')
  await rename(`${place}.bound`, place)
  return {
    [Symbol.asyncDispose]: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}

const modeOf = async (place: string) => ((await stat(place)).mode & 0o777).toString(8)
const start = (mode?: number) => Serving.start({ socket: { path, ...(mode && { mode }) } })

describe('a socket elsewhere', () => {
  it('is served without a token, told in urls, and removed at the end', async () => {
    await using serving = await start()
    expect(await modeOf(path)).toBe('600')
    expect(serving.server.urls).toEqual([expect.stringMatching(/^http:/), `unix:${path}`])
    await using store = await connect(`unix:${path}`)
    await store.put('a', 'x')
    expect(Buffer.from((await serving.store.get('a')) ?? []).toString()).toBe('x')
    expect(await modeOf(serving.server.socket)).toBe('600')
    expect(await readdir(directory)).toEqual(['tailrace.sock'])
    await serving.server.stop()
    expect(await readdir(directory)).toEqual([])
  })

  it('lets the group in where it can reach it, and is refused where it cannot', async () => {
    const failure = { code: 'EMISCONFIGURED', message: expect.stringContaining(`${directory} is`) }
    await expect(start(0o660)).rejects.toMatchObject(failure)
    await chmod(directory, 0o710)
    await expect(start(0o666)).rejects.toMatchObject(failure)
    await using serving = await start(0o660)
    expect(await modeOf(path)).toBe('660')
    expect(await modeOf(serving.server.socket)).toBe('600')
  })

  it('is not made where all may write', async () => {
    await chmod(directory, 0o777)
    await expect(start()).rejects.toMatchObject({ code: 'EPERM' })
    await chmod(directory, 0o1777)
    await using serving = await start(0o666)
    expect(serving.server.urls).toContain(`unix:${path}`)
  })

  it('replaces what a killed server has left, and nothing else', async () => {
    await writeFile(path, 'other')
    await expect(start()).rejects.toMatchObject({ code: 'EMISCONFIGURED' })
    expect(await readFile(path, 'utf8')).toBe('other')
    await rm(path)
    {
      await using _listening = await listenAt(path)
      await expect(start()).rejects.toMatchObject({ code: 'EBUSY' })
    }
    await using _serving = await start()
    await using _store = await connect(`unix:${path}`)
  })

  it('is bound below its directory, out of the reach of others', async () => {
    const bound = await withPrivatePath({ path }, async (at) => {
      expect(await modeOf(dirname(at))).toBe('700')
      return at
    })
    expect(dirname(dirname(bound))).toBe(directory)
    expect(await readdir(directory)).toEqual([])
  })

  it('that is of another program by now stays', async () => {
    await using serving = await start()
    await using _listening = await listenAt(path)
    await serving.server.stop()
    expect(await readdir(directory)).toEqual(['tailrace.sock'])
  })

  it.each([
    ['too long', 'EINVAL', () => join(directory, 'x'.repeat(100))],
    ['relative', 'EINVAL', () => 'tailrace.sock'],
    ['in no directory', 'EMISCONFIGURED', () => join(directory, 'none', 's')],
  ])('is refused if its path is %s', async (_, code, at) => {
    await expect(Serving.start({ socket: { path: at() } })).rejects.toMatchObject({ code })
  })
})
