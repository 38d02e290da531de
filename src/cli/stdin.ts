/** What comes in: stdin or a file, as streams, whole (bounded), or in lines. See rfc/13. */

import { open } from 'node:fs/promises'
import { TailraceError } from '../error.js'

/** Bytes of one read of a file. */
const readSize = 256 * 1024
const newline = 10

/** Bytes as they come; nothing is read before they are asked for. */
export async function* stdinChunks(): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of process.stdin) {
    yield typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
  }
}

/** Throws ENOENT, EPERM, EISDIR, EIO with the path, before the first byte is asked for. */
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

/** All of it. Throws E2BIG above `sizeMax`, with the hint. */
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

/** The lines that each chunk completes, newlines included; the last may lack its own. Throws E2BIG
 *  for a line above `lineMax` bytes. */
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

function fileError(path: string, cause: unknown): TailraceError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ENOENT') return new TailraceError('ENOENT', `there is no file ${path}`, { cause })
  if (code === 'EACCES') {
    return new TailraceError('EPERM', `${path} may not be read by this user`, { cause })
  }
  return new TailraceError('EIO', `${path} could not be read: ${String(cause)}`, { cause })
}
