/** A server that may open few files: connections leave some to the store and to jobs. See rfc/12, rule 32. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect as connectSocket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, it } from 'vitest'
import { openFilesMax } from '../../src/base/limits.js'
import { connect } from '../../src/client/node.js'
import { connectionsMax, connectionsWithin } from '../../src/server/front.js'
import { bundle } from '../support/bundle.js'

const filesMax = 300

it('is told by the system where it is Linux', () => {
  if (process.platform !== 'linux') expect(openFilesMax()).toBeUndefined()
  else expect(openFilesMax()).toBeGreaterThan(100)
})

it('gives connections what is left, half where there is little', () => {
  expect(connectionsWithin(undefined)).toBe(connectionsMax)
  expect(connectionsWithin(1_000_000)).toBe(connectionsMax)
  expect(connectionsWithin(4_096)).toBe(4_096 - 512)
  expect(connectionsWithin(1_024)).toBe(512)
  expect(connectionsWithin(256)).toBe(128)
})

it('writes, and runs jobs, beside more connections than it may have files', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-files-'))
  await using programs = await bundle({ main: 'src/cli/main.ts' })
  const serve = ['serve', '--json', '--data', join(directory, 'data'), '--listen', '127.0.0.1:0']
  const shell = `ulimit -n ${filesMax} && exec "$0" "$@"`
  const args = ['-c', shell, process.execPath, programs.files.main, ...serve]
  const server = spawn('sh', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const sockets = []
  try {
    const [line] = (await once(createInterface({ input: server.stdout }), 'line')) as [string]
    const { socket, listen, pid } = JSON.parse(line) as {
      readonly socket: string
      readonly listen: readonly [string]
      readonly pid: number
    }
    expect(await readFile(`/proc/${pid}/limits`, 'utf8')).toMatch(
      `Max open files            ${filesMax} `,
    )
    const port = Number(listen[0].split(':')[1])
    for (let n = 0; n < 2 * filesMax; n++) {
      const each = connectSocket(port, '127.0.0.1').on('error', () => {})
      sockets.push(each)
      await Promise.race([once(each, 'connect'), once(each, 'close')])
    }
    await using store = await connect(`unix:${socket}`)
    await store.put('beside', 'them')
    expect(Buffer.from((await store.get('beside')) ?? []).toString()).toBe('them')
    const { id } = await store.jobs.submit({ command: ['true'], cwd: '/', env: {} })
    expect(await store.jobs.wait(id)).toMatchObject({ state: 'finished', status: 0 })
  } finally {
    for (const each of sockets) each.destroy()
    const ended = once(server, 'exit')
    server.kill()
    await ended
    await rm(directory, { recursive: true, force: true })
  }
})
