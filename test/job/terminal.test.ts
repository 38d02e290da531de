/** A job on a terminal: what it sees of it, what is typed, and that all it shows is kept. */

import { writeSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { JobKvs } from '../../src/job/keys.js'
import { Terminal } from '../../src/job/terminal.js'
import { codeOf, Harness } from './harness.js'

const pty = { columns: 91, rows: 17 }

async function* typing(...texts: readonly string[]) {
  for (const text of texts) yield Buffer.from(text)
}

test('a job has a terminal of its size for all of its streams, and is the leader on it', async () => {
  await using jobs = await Harness.open()
  const script = 'test -t 0 && test -t 1 && test -t 2 && stty size; echo err >&2; ps -o stat= -p $$'
  const view = await jobs.runShell(script, { pty })
  const [size, error, stat] = (await jobs.text(view.id)).split('\r\n')
  expect([size, error]).toEqual(['17 91', 'err'])
  expect(stat).toMatch(/^\S*s\S*\+$/) // a session's leader, in the foreground
  expect(await jobs.text(view.id, 'stderr')).toBe('')
  expect((await jobs.output(view.id)).at(-1)).toMatchObject({ stream: 'stderr', reason: 'merged' })
  expect(view).toMatchObject({ state: 'finished', status: 0 })
})

test('what is typed is read, its end is the end of file; without stdin there is nothing to read', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.shell('stty -echo; echo ready; cat; echo end', { pty, stdin: true })
  await jobs.shows(job.id, 'ready\r\n')
  await jobs.runner.stdin(job.id, typing('one\r', 'two\r'))
  await jobs.runner.wait(job.id)
  expect(await jobs.text(job.id)).toBe('ready\r\none\r\ntwo\r\nend\r\n')
  const deaf = await jobs.runShell('cat; echo end', { pty })
  expect(await jobs.text(deaf.id)).toBe('end\r\n')
})

test('Ctrl-C typed is SIGINT to the job', async () => {
  await using jobs = await Harness.open()
  const script = "trap 'echo caught; exit 5' INT; echo ready; while :; do :; done"
  const job = await jobs.shell(script, { pty, stdin: true })
  await jobs.shows(job.id, 'ready\r\n')
  await jobs.runner.stdin(job.id, typing('\x03'))
  expect((await jobs.runner.wait(job.id)).status).toBe(5)
})

test('the size changes before the job begins and while it runs', async () => {
  await using jobs = await Harness.open({ runningMax: 1 })
  const gate = await jobs.submit(['cat'], { stdin: true })
  const script = 'trap "stty size; exit" WINCH; stty size; while :; do sleep 0.05; done'
  const job = await jobs.shell(script, { pty })
  await jobs.runner.resize(job.id, { columns: 100, rows: 30 })
  await jobs.runner.stdin(gate.id, typing())
  await jobs.shows(job.id, '30 100\r\n')
  await jobs.runner.resize(job.id, { columns: 120, rows: 40 })
  await jobs.runner.wait(job.id)
  expect(await jobs.text(job.id)).toBe('30 100\r\n40 120\r\n')
  expect(await codeOf(jobs.runner.resize(job.id, pty))).toBe('ECONFLICT')
  expect(await codeOf(jobs.runner.resize(job.id, { ...pty, rows: 0 }))).toBe('EINVAL')
  const piped = await jobs.submit(['sleep', '60'])
  expect(await codeOf(jobs.runner.resize(piped.id, pty))).toBe('ECONFLICT')
})

test('all that a job showed before its end is kept, however slow the store is', async () => {
  // So little may be held that the terminal is read only when the store has answered.
  await using jobs = await Harness.open({ heldMax: 160 * 1024 })
  for (const lines of [3_000, 60_000]) {
    const view = await jobs.runShell(`seq ${lines}`, { pty })
    const expected = Array.from({ length: lines }, (_, index) => `${index + 1}\r\n`).join('')
    expect(await jobs.text(view.id)).toBe(expected)
  }
})

test('what a terminal has read ahead when its job ends is kept once, in its place', async () => {
  const heldMax = 160 * 1024
  // While a commit waits, the loop turns, and the terminal is read ahead.
  const slow = (kvs: JobKvs): JobKvs => ({
    ...kvs,
    commit: async (...args) => {
      for (let turn = 0; turn < 3; turn++) await nextTurn()
      return kvs.commit(...args)
    },
  })
  await using jobs = await Harness.open({ heldMax }, slow)
  const expected = Array.from({ length: 60_000 }, (_, index) => `${index + 1}\r\n`).join('')
  for (let tries = 0; tries < 10; tries++) {
    const view = await jobs.runShell('seq 60000', { pty })
    expect((await jobs.text(view.id)) === expected).toBe(true)
  }
})

test('the rest of a terminal has what it reads ahead meanwhile, in its place', async () => {
  const terminal = Terminal.open(pty)
  if (!terminal) throw new Error('no terminal')
  try {
    // Bytes that a program writes to its terminal.
    const write = (text: string) => writeSync(terminal.slave, text)
    terminal.output.pause()
    write('a\n')
    const rest = terminal.rest()
    const first = rest.next()
    write('b\n')
    while (terminal.output.readableLength === 0) await nextTurn()
    write('c\n')
    const seen = [...(first.done ? [] : [first.value]), ...rest]
    expect(Buffer.concat(seen).toString()).toBe('a\r\nb\r\nc\r\n')
  } finally {
    terminal.close()
  }
})

test('who goes on writing when the job has ended does not keep it from finishing', async () => {
  await using jobs = await Harness.open({ killMs: 50 })
  const script = `sh -c "trap '' HUP TERM; exec yes" & echo $!; sleep 0.1; exit 4`
  expect((await jobs.runShell(script, { pty })).status).toBe(4)
})

test('what cannot be run says so, and a signal right after the start arrives', async () => {
  await using jobs = await Harness.open()
  const none = await jobs.run(['no-such-program'], { pty })
  expect(none).toMatchObject({ status: 127, exception: { type: 'exec' } })
  const job = await jobs.submit(['sleep', '60'], { pty })
  await jobs.runner.signal(job.id, 'SIGTERM')
  expect((await jobs.runner.wait(job.id)).signal).toBe('SIGTERM')
})

test('what nobody reads is no reason for the server to wait', async () => {
  await using jobs = await Harness.open({ killMs: 50 })
  const job = await jobs.shell('stty raw -echo; echo ready; exec sleep 60', { pty, stdin: true })
  await jobs.shows(job.id, 'ready\n')
  const fed = jobs.runner.stdin(
    job.id,
    typing(...Array.from({ length: 40 }, () => 'x'.repeat(10_000))),
  )
  expect((await jobs.run(['true'])).status).toBe(0)
  await jobs.runner.signal(job.id, 'SIGKILL')
  await fed
})
