/** `tailrace export`, `import` and `verify`: a namespace's tree as a file. See rfc/15.
 *  Invariant: a file that was not written to its end does not have its name. */

import { open, rename, rm, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Skipped } from '../api/upkeep.js'
import { TailraceError } from '../error.js'
import { skippedAtHead } from '../export/format.js'
import { timeText } from './format.js'
import { argument, defined, type Invocation, isStdin, UsageError } from './invocation.js'
import { quoted } from './quote.js'
import { withStore } from './session.js'
import { fileChunks, stdinChunks } from './stdin.js'
import { Ticker, ticked } from './ticker.js'

/** The exit code of an export that is whole but for what could not be read. */
const somethingSkipped = 1

export async function exportTree(invocation: Invocation): Promise<number | undefined> {
  const { options, stdout, stderr } = invocation
  const [at, since] = [options.at('at'), options.at('since')]
  const skipDamaged = options.flag('skipDamaged') || undefined
  const scope = defined({ namespace: options.text('namespace'), at, since, skipDamaged })
  const file = options.text('output') ?? '-'
  if (file === '-' && options.flag('json')) throw new UsageError('--json needs -o FILE')
  if (file === '-' && stdout.isTerminal) {
    throw new UsageError('an export is bytes, not text: name a file (-o FILE), or pipe it')
  }
  return withStore(invocation, async (store) => {
    const ticker = new Ticker(stderr)
    const list = new SkippedList()
    const chunks = list.pass(ticked(store.upkeep.export(scope), ticker, 'exported'))
    if (file === '-') for await (const chunk of chunks) await stdout.write(chunk)
    else {
      const size = await writeFile(file, chunks)
      const told = list.skipped.length > 0 ? { skipped: list.skipped } : {}
      if (options.flag('json')) await stdout.json({ file, size, ...told })
    }
    if (list.skipped.length === 0) return undefined
    await stderr.lines(skippedLines(list.skipped))
    return somethingSkipped
  })
}

/** Entries that an export left out, read from its first bytes as they pass. */
class SkippedList {
  skipped: readonly Skipped[] = []

  async *pass(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let head: Buffer | undefined = Buffer.alloc(0)
    for await (const chunk of chunks) {
      if (head) {
        head = Buffer.concat([head, chunk])
        const skipped = skippedAtHead(head)
        if (skipped) {
          this.skipped = skipped
          head = undefined
        }
      }
      yield chunk
    }
  }
}

function skippedLines(skipped: readonly Skipped[] = []): string[] {
  return skipped.map(
    ({ key, code, message }) => `left out: ${quoted(key)} (${code}: ${quoted(message)})`,
  )
}

export async function importTree(invocation: Invocation): Promise<undefined> {
  const { options, stdout, stderr } = invocation
  const scope = {
    ...defined({ namespace: options.text('namespace') }),
    ...(options.flag('replace') ? { replace: true } : {}),
  }
  const chunks = await inputOf(invocation, 0)
  return withStore(invocation, async (store) => {
    const imported = await store.upkeep.import(ticked(chunks, new Ticker(stderr), 'read'), scope)
    if (options.flag('json')) await stdout.json(imported)
    else {
      const { namespace, seq, keys, size, stored, read } = imported
      await stdout.line(`${namespace} is at ${seq}: ${keys} keys, ${size} bytes`)
      await stdout.line(`${stored.count} of ${read.count} blobs were new: ${stored.size} bytes`)
      await stdout.lines(skippedLines(imported.skipped))
    }
    return undefined
  })
}

export async function verify(invocation: Invocation): Promise<undefined> {
  const { options, stdout, stderr } = invocation
  argument(invocation, 0)
  const { verifyExport } = await import('../export/verify.js')
  const chunks = ticked(await inputOf(invocation, 0), new Ticker(stderr), 'read')
  const verified = await verifyExport(chunks)
  if (options.flag('json')) await stdout.json(verified)
  else {
    const { namespace, seq, time, keys, size, since } = verified
    const what = since ? `${namespace} at ${seq}, since ${since.seq}` : `${namespace} at ${seq}`
    const when = timeText(time, options)
    await stdout.line(`whole: ${what} (${when}): ${keys} keys, ${size} bytes`)
    await stdout.lines(skippedLines(verified.skipped))
  }
  return undefined
}

/** A file, or stdin. */
async function inputOf(invocation: Invocation, index: number): Promise<AsyncIterable<Uint8Array>> {
  const file = invocation.arguments[index]
  return file === undefined || isStdin(invocation, index) ? stdinChunks() : fileChunks(file)
}

/** Writes beside the file, then takes its name; what is no file (a device, a pipe) is written itself. Gives
 *  the bytes. */
async function writeFile(path: string, chunks: AsyncIterable<Uint8Array>): Promise<number> {
  const there = await stat(path).catch(() => undefined)
  if (there && !there.isFile()) return writeTo(path, chunks, { sync: false })
  const part = `${path}.${process.pid}.part`
  try {
    const size = await writeTo(part, chunks, { sync: true })
    await rename(part, path)
    const directory = await open(dirname(resolve(path)))
    await directory.sync()
    await directory.close()
    return size
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}

async function writeTo(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  { sync }: { readonly sync: boolean },
): Promise<number> {
  let size = 0
  try {
    const file = await open(path, 'w', 0o600)
    try {
      for await (const chunk of chunks) {
        await file.writeFile(chunk)
        size += chunk.length
      }
      if (sync) await file.sync()
    } finally {
      await file.close()
    }
    return size
  } catch (error) {
    throw fileError(path, error)
  }
}

function fileError(path: string, cause: unknown): unknown {
  const code = cause instanceof Error && 'syscall' in cause && 'code' in cause ? cause.code : ''
  if (code === 'ENOENT') {
    return new TailraceError('ENOENT', `there is no directory for ${path}`, { cause })
  }
  if (code === 'EACCES') return new TailraceError('EPERM', `${path} may not be written`, { cause })
  return cause
}
