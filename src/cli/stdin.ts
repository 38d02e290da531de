/** Input from stdin or a file: as streams, whole (bounded), in lines, or read ahead. See
 *  rfc/13, rule 16.
 *  Invariant: what cannot be read is an error, never an empty value. Every byte comes once, in
 *  order. */

import { createReadStream, fstatSync, ReadStream, type Stats, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { Socket } from 'node:net'
import { devNull } from 'node:os'
import { accessModeOf } from '../base/posix.js'
import { Wakeup } from '../base/wakeup.js'
import { reasonOf, TailraceError } from '../error.js'
import { type CommandContext, stdin } from './command.js'
import { counted } from './progress.js'

/** The size of one read of a file, in bytes. */
const readSize = 256 * 1024
const newline = 10

/** Opens a file, or stdin. Throws what `fileChunks` and `stdinChunks` throw. */
export async function inputChunks(
  input: string | typeof stdin,
): Promise<AsyncIterable<Uint8Array>> {
  return input === stdin ? stdinChunks() : fileChunks(input)
}

/** Opens a file, or stdin, and shows the progress of reading it on a terminal. Throws what
 *  `inputChunks` throws. */
export async function countedInput(
  input: string | typeof stdin,
  { stderr }: Pick<CommandContext, 'stderr'>,
): Promise<AsyncIterable<Uint8Array>> {
  const chunks = await inputChunks(input)
  const stats = input === stdin ? fstatSync(0) : statSync(input)
  // A person who types sees what was typed.
  if (stats.isCharacterDevice()) return chunks
  const total = stats.isFile() ? stats.size : undefined
  return counted(chunks, stderr, { title: 'read', total })
}

/** Returns the bytes of stdin as they come. Nothing is read before it is asked for. Throws EISDIR
 *  where stdin is a directory, and EIO where it is not open or cannot be read. The iteration throws
 *  EIO where a read fails. */
export function stdinChunks(): AsyncIterable<Uint8Array> {
  const stats = fstatSync(0)
  if (stats.isDirectory()) {
    throw new TailraceError('EISDIR', 'stdin is a directory: redirect a file or a pipe')
  }
  if (isStandIn(stats)) {
    throw new TailraceError('EIO', 'stdin is not open; for an empty input write < /dev/null')
  }
  // Node takes a disk, like all kinds that it does not know, for an empty stream.
  if (stats.isBlockDevice())
    return bytesOf(createReadStream('', { fd: 0, highWaterMark: readSize }))
  if (process.stdin instanceof Socket || (process.stdin as unknown) instanceof ReadStream) {
    return bytesOf(process.stdin)
  }
  throw new TailraceError('EIO', 'stdin is neither a file, a pipe, a stream socket nor a terminal')
}

/** True if stdin was closed. Node then opens /dev/null for reading and writing in its place; a
 *  shell's `< /dev/null` is open for reading only. A caller that opened /dev/null for both (a
 *  daemon's stdin, Python's `subprocess.DEVNULL`) cannot be told from a closed stdin, and counts as
 *  one. */
function isStandIn(stats: Stats): boolean {
  if (!stats.isCharacterDevice() || stats.rdev !== statSync(devNull).rdev) return false
  return accessModeOf(0) === 'read-write'
}

async function* bytesOf(stream: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of stream) {
      yield typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
    }
  } catch (cause) {
    const why = reasonOf(cause)
    throw new TailraceError('EIO', `stdin could not be read: ${why}`, { cause })
  }
}

/** Opens a file and returns its bytes. Throws ENOENT, EPERM, EISDIR, EIO with the path, before the
 *  first byte is asked for. */
export async function fileChunks(path: string): Promise<AsyncIterable<Uint8Array>> {
  try {
    const file = await open(path, 'r')
    if ((await file.stat()).isDirectory()) {
      await file.close()
      throw new TailraceError('EISDIR', `${path} is a directory: name a file`)
    }
    return file.createReadStream({ highWaterMark: readSize })
  } catch (cause) {
    throw cause instanceof TailraceError ? cause : fileError(path, cause)
  }
}

/** Reads all bytes. Throws E2BIG above `sizeMax` bytes, with the hint. */
export async function readAll(
  chunks: AsyncIterable<Uint8Array>,
  sizeMax: number,
  hint: string,
): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  let size = 0
  for await (const chunk of chunks) {
    size += chunk.length
    if (size > sizeMax) {
      throw new TailraceError('E2BIG', `the input has more than ${sizeMax} bytes: ${hint}`)
    }
    all.push(chunk)
  }
  return Buffer.concat(all, size)
}

/** Yields the lines that each chunk completes, with their newlines; the last line may have none.
 *  Throws E2BIG for a line above `lineMax` bytes. */
export async function* lineGroups(
  chunks: AsyncIterable<Uint8Array>,
  lineMax: number,
): AsyncGenerator<Uint8Array[], void, undefined> {
  let open: Uint8Array[] = []
  let openSize = 0
  for await (const chunk of chunks) {
    const lines: Uint8Array[] = []
    let start = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      const rest = chunk.subarray(start, end + 1)
      lines.push(openSize === 0 ? rest : Buffer.concat([...open, rest]))
      open = []
      openSize = 0
      start = end + 1
    }
    if (start < chunk.length) {
      open.push(chunk.subarray(start))
      openSize += chunk.length - start
    }
    if (openSize > lineMax) {
      throw new TailraceError('E2BIG', `a line has more than ${lineMax} bytes`)
    }
    if (lines.length > 0) yield lines
  }
  if (openSize > 0) yield [Buffer.concat(open)]
}

/** The number of bytes that may wait for the consumer before reading pauses. */
export const readAheadMax = 4 * 1024 * 1024

/** Reads on while what came before is on its way: a slow consumer gets larger pieces, a quick one
 *  each as it comes. A piece is all that has come since the last one was asked for; at most
 *  `readAheadMax` bytes and one chunk wait. A consumer that leaves early leaves the rest unread.
 *  Throws what `chunks` throws, after all that came before. */
export async function* readAhead(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const moved = new Wakeup()
  const left = new AbortController()
  let waiting: Uint8Array[] = []
  let size = 0
  let ended = false
  let failure: { readonly error: unknown } | undefined
  const read = async () => {
    try {
      for await (const chunk of chunks) {
        waiting.push(chunk)
        size += chunk.length
        moved.wake()
        while (size > readAheadMax && !left.signal.aborted) await moved.wait(moved.count)
        if (left.signal.aborted) return
      }
    } catch (error) {
      failure = { error }
    }
    ended = true
    moved.wake()
  }
  // Its errors are kept for the consumer.
  void read()
  try {
    for (;;) {
      const seen = moved.count
      if (waiting.length > 0) {
        const piece = Buffer.concat(waiting, size)
        waiting = []
        size = 0
        moved.wake()
        yield piece
        continue
      }
      if (failure) throw failure.error
      if (ended) return
      await moved.wait(seen)
    }
  } finally {
    left.abort()
    moved.wake()
  }
}

function fileError(path: string, cause: unknown): TailraceError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ENOENT') return new TailraceError('ENOENT', `there is no file ${path}`, { cause })
  if (code === 'EACCES') {
    return new TailraceError('EPERM', `${path} may not be read by this user`, { cause })
  }
  return new TailraceError('EIO', `${path} could not be read: ${String(cause)}`, { cause })
}
