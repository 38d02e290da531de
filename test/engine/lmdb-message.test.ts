/** The library's faulty message of a failed write: rfc/4, rule 22. */

import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { shortenWriteMessage } from '../../src/engine/lmdb-message.js'
import { openLocal } from '../../src/engine/local-open.js'

/** Every string of the loaded library that begins so, as it is in memory now. */
function messages(): string[] {
  const memory = openSync('/proc/self/mem', 'r')
  try {
    return readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .filter((line) => /r--p .*lmdb.*\.node$/.test(line))
      .flatMap((line) => {
        const [from = 0, to = 0] = (line.split(' ')[0] ?? '')
          .split('-')
          .map((hex) => Number.parseInt(hex, 16))
        const bytes = Buffer.alloc(to - from)
        readSync(memory, bytes, 0, bytes.length, from)
        const at = bytes.indexOf('Attempting to write page')
        return at < 0 ? [] : [bytes.toString('latin1', at, bytes.indexOf(0, at))]
      })
  } finally {
    closeSync(memory)
  }
}

test('an open store has the message cut to what fits its buffer', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-message-'))
  const engine = await openLocal(directory, { environment: systemEnvironment })
  try {
    expect(messages()).toEqual(['Attempting to write page at position %u, size %u'])
    expect(shortenWriteMessage()).toBe(true)
  } finally {
    await engine[Symbol.asyncDispose]()
    await rm(directory, { recursive: true })
  }
})
