/** Sockets that listened before the server was started. See rfc/29, rule 12. */

import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { link, mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { createServer, type ListenOptions, type Server as NetServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { duplicateDescriptor, isInherited, listeningSocket } from '../../src/base/posix.js'
import { Serving } from './serving.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-inherited-'))
})
afterEach(() => rm(directory, { recursive: true }))

/** The descriptor of a socket that listens, and that nobody else accepts from. */
async function listeningAt(options: ListenOptions): Promise<number> {
  const server = createServer().listen(options)
  await once(server, 'listening')
  const { _handle: handle } = server as NetServer & { readonly _handle: { readonly fd: number } }
  const descriptor = duplicateDescriptor(handle.fd)
  // Node removes the path of a socket that it closes: clients take another name of it.
  if (options.path !== undefined) await link(options.path, `${options.path}-link`)
  server.close()
  return descriptor
}

describe('a server takes', () => {
  it('a TCP socket, whose clients need the token and name its address', async () => {
    const inherited = [await listeningAt({ host: '127.0.0.1', port: 0 })]
    await using serving = await Serving.start({ listen: [], inherited })
    expect(serving.server.listen).toEqual([expect.stringMatching(/^127\.0\.0\.1:[0-9]+$/)])
    await serving.store.put('a', 'value')
    expect((await serving.ask('GET', '/v1/kv/a')).body.toString()).toBe('value')
    expect((await serving.ask('GET', '/v1/kv/a', { token: '' })).status).toBe(401)
    const url = new URL(serving.url)
    const foreign = request({ port: url.port, path: '/healthz', headers: { host: 'evil.example' } })
    foreign.end()
    const [answer] = await once(foreign, 'response')
    answer.resume()
    expect(answer.statusCode).toBe(403)
  })

  it('a socket that other machines reach only with TLS, or if it is told so', async () => {
    const all = { host: '0.0.0.0', port: 0 }
    const refused = Serving.start({ listen: [], inherited: [await listeningAt(all)] })
    await expect(refused).rejects.toMatchObject({ code: 'EMISCONFIGURED' })
    const inherited = [await listeningAt(all)]
    await using serving = await Serving.start({ listen: [], inherited, insecureListen: true })
    expect(serving.server.listen[0]).toMatch(/^0\.0\.0\.0:/)
  })

  it('a Unix socket, whose clients need no token', async () => {
    const path = join(directory, 'passed.sock')
    const inherited = [await listeningAt({ path })]
    await using serving = await Serving.start({ listen: [], inherited })
    await serving.store.put('a', 'value')
    const asking = request({ socketPath: `${path}-link`, path: '/v1/kv/a' })
    asking.end()
    const [answer] = await once(asking, 'response')
    answer.resume()
    expect(answer.statusCode).toBe(200)
    expect(serving.server.listen).toEqual([])
  })

  it('nothing else', async () => {
    const file = openSync(join(directory, 'file'), 'w')
    for (const descriptor of [file, 9_999]) {
      await expect(Serving.start({ inherited: [descriptor] })).rejects.toMatchObject({
        code: 'EMISCONFIGURED',
        message: `descriptor ${descriptor} is no socket that listens on TCP or a path`,
      })
    }
    closeSync(file)
  })
})

it('a socket that was taken is not inherited by children', async () => {
  const descriptor = await listeningAt({ host: '::1', port: 0 })
  expect(listeningSocket(descriptor)).toBe('tcp')
  expect(isInherited(descriptor)).toBe(false)
  closeSync(descriptor)
})
