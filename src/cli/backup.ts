/** `tailrace export`, `import` and `verify`: a namespace's tree as a file. See rfc/15.
 *  Invariant: a file that was not written to its end does not have its name. */

import { open, rename, rm, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Skipped } from '../api/upkeep.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { argument, command, file, flag, inputFile, option, stdin, UsageError } from './command.js'
import { at, json, namespace, place, utc } from './options.js'
import { counted } from './progress.js'
import { quoted } from './quote.js'
import { atRoot, root, wholeRoot } from './roots.js'
import { withStore } from './session.js'
import { countedInput } from './stdin.js'
import { timeText } from './units.js'

/** The exit code of an export that is whole but for what could not be read. */
const somethingSkipped = 1

export const exportTree = command({
  name: 'export',
  summary: "write a namespace's tree as one stream that proves itself",
  description:
    "Write a namespace's keys with their values, at one root, to a file or to stdout (-). " +
    'With --since only what that root does not have: an import of it wants just that root.',
  options: {
    namespace,
    at,
    since: option('--since <seq|ref>', 'only what came after that root', root),
    skipDamaged: flag('--skip-damaged', 'leave out what cannot be read, list it, and end with 1'),
    output: option('-o, --output <file>', 'the file (default: stdout)', file),
    json,
    ...place,
  },
  examples: [
    'tailrace export -o backup.tailrace',
    'tailrace export -n staging | ssh host tailrace import -n staging',
    'tailrace export --since 120 -o difference.tailrace',
  ],
  run: async (call) => {
    const { options, stdout, stderr } = call
    const { namespace, output: path = '-' } = options
    const skipDamaged = options.skipDamaged || undefined
    if (path === '-' && options.json) throw new UsageError('--json needs -o FILE')
    if (path === '-' && stdout.isTerminal) {
      throw new UsageError('an export is bytes, not text: name a file (-o FILE), or pipe it')
    }
    const { skippedAtHead } = await import('../export/format.js')
    return withStore(call, async (store) => {
      const scope = {
        ...defined({ namespace, skipDamaged }),
        ...(await atRoot(store, options.at, namespace)),
        ...(options.since ? { since: await wholeRoot(store, options.since, namespace) } : {}),
      }
      const list = new SkippedList(skippedAtHead)
      const chunks = list.pass(counted(store.upkeep.export(scope), stderr, { title: 'exported' }))
      if (path === '-') for await (const chunk of chunks) await stdout.write(chunk)
      else {
        const size = await writeFile(path, chunks)
        const told = list.skipped.length > 0 ? { skipped: list.skipped } : {}
        if (options.json) await stdout.json({ file: path, size, ...told })
      }
      if (list.skipped.length === 0) return undefined
      await stderr.lines(skippedLines(list.skipped))
      return somethingSkipped
    })
  },
})

/** Reads the entries that an export left out from its first bytes, which it passes on. */
class SkippedList {
  skipped: readonly Skipped[] = []
  readonly #read: (head: Buffer) => readonly Skipped[] | undefined

  constructor(read: (head: Buffer) => readonly Skipped[] | undefined) {
    this.#read = read
  }

  async *pass(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let head: Buffer | undefined = Buffer.alloc(0)
    for await (const chunk of chunks) {
      if (head) {
        head = Buffer.concat([head, chunk])
        const skipped = this.#read(head)
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

export const importTree = command({
  name: 'import',
  summary: 'make a namespace what an export has, in one commit',
  description:
    'Read an export from a file or stdin (-) into a namespace, which is made if it is missing. ' +
    'A stream that is damaged or cut imports nothing.',
  parameters: { file: argument('[file]', inputFile) },
  options: {
    namespace,
    replace: flag('--replace', 'also where there are keys: they go'),
    json,
    ...place,
  },
  examples: [
    'tailrace import backup.tailrace -n restored',
    'tailrace import backup.tailrace --replace',
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const scope = defined({
      namespace: options.namespace,
      replace: options.replace || undefined,
    })
    const chunks = await countedInput(args.file ?? stdin, call)
    return withStore(call, async (store) => {
      const imported = await store.upkeep.import(chunks, scope)
      if (options.json) return stdout.json(imported)
      const { namespace, seq, keys, size, stored, read } = imported
      await stdout.line(`${namespace} is at ${seq}: ${keys} keys, ${size} bytes`)
      await stdout.line(`${stored.count} of ${read.count} blobs were new: ${stored.size} bytes`)
      await stdout.lines(skippedLines(imported.skipped))
    })
  },
})

export const verify = command({
  name: 'verify',
  summary: 'check the file of an export, without a store',
  parameters: { file: argument('<file>', inputFile) },
  options: { utc, json },
  examples: ['tailrace verify backup.tailrace'],
  run: async ({ args, options, stdout, stderr }) => {
    const { verifyExport } = await import('../export/verify.js')
    const verified = await verifyExport(await countedInput(args.file, { stderr }))
    if (options.json) return stdout.json(verified)
    const { namespace, seq, time, keys, size, since } = verified
    const what = since ? `${namespace} at ${seq}, since ${since.seq}` : `${namespace} at ${seq}`
    const when = timeText(time, options)
    await stdout.line(`whole: ${what} (${when}): ${keys} keys, ${size} bytes`)
    await stdout.lines(skippedLines(verified.skipped))
  },
})

/** Writes a file under another name, then renames it. A device or a pipe is written directly.
 *  Returns the number of bytes. */
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
