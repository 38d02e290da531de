/** What a commit group may not hide: watchers that come over links get what was appended before what they came
 *  over goes. See rfc/17, rule 3. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Op } from '../../src/api/transaction.js'
import { linksSoughtMax } from '../../src/draft/breaks.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { text } from './expect.js'

let kvs: EmbeddedStore
const run = (...ops: Op[]) => kvs.commit({ ops })
beforeEach(async () => {
  kvs = await open()
  await run(
    { op: 'append', key: 'logs/log', value: '1' },
    { op: 'symlink', key: 'deep/er/link', target: 'logs' },
    { op: 'put', key: 'deep/value', value: '' },
    { op: 'mkdir', key: 'full' },
  )
})
afterEach(() => kvs[Symbol.asyncDispose]())

/** What a watcher of a key, which is live, sees until it ends, and how that is. */
async function follow(key: string): Promise<{ readonly ended: Promise<string[]> }> {
  const seen: string[] = []
  const watch = kvs.watch(key, { mode: 'append' })[Symbol.asyncIterator]()
  const pull = async () => {
    const { value } = await watch.next()
    if (value?.type === 'append') seen.push(text(value.data))
    return value?.type
  }
  while ((await pull()) !== 'live');
  const ended = (async () => {
    try {
      for (;;) await pull()
    } catch (error) {
      return [...seen, (error as { code: string }).code]
    }
  })()
  return { ended }
}

describe('a directory that holds a link on the way to a log', () => {
  const goes: Record<string, Op[]> = {
    'is removed': [{ op: 'unlink', key: 'deep', recursive: true }],
    'is moved': [{ op: 'move', from: 'deep', key: 'moved' }],
    'is replaced by a copy': [{ op: 'copy', from: 'full', key: 'deep', replace: true }],
    'is replaced by one that is moved': [{ op: 'move', from: 'full', key: 'deep', replace: true }],
    'is restored': [{ op: 'restore', key: 'deep', at: 0 }],
    'is removed in two steps': [
      { op: 'unlink', key: 'deep/er', recursive: true },
      { op: 'unlink', key: 'deep', recursive: true },
    ],
  }
  it.each(Object.entries(goes))('%s only after the append was seen', async (_, ops) => {
    const { ended } = await follow('deep/er/link/log')
    const [appended, gone] = await Promise.all([kvs.append('logs/log', '2'), run(...ops)])
    expect(await ended).toEqual(['1', '2', 'ENOENT'])
    expect(gone.ref).not.toBe(appended.ref)
  })

  it('and was made by the group itself opens the next one too', async () => {
    const [, appended, gone] = await Promise.all([
      run({ op: 'symlink', key: 'young/link', target: 'logs/log' }),
      kvs.append('logs/log', '2'),
      run({ op: 'unlink', key: 'young', recursive: true }),
    ])
    expect(gone.ref).not.toBe(appended.ref)
  })
})

describe('one group is enough', () => {
  const together = async (key: string, ...before: Op[]) => {
    if (before.length > 0) await run(...before)
    const [appended, gone] = await Promise.all([
      kvs.append('logs/log', '2'),
      run({ op: 'unlink', key, recursive: true }),
    ])
    return appended.ref === gone.ref
  }
  const values = (count: number): Op[] =>
    Array.from({ length: count }, (_, at) => ({ op: 'put', key: `many/${at}`, value: '' }))

  it('where nothing of what goes is a link', async () => {
    expect(await together('many', ...values(linksSoughtMax))).toBe(true)
  })

  it('where the directory is empty, or has empty ones only', async () => {
    expect(await together('full')).toBe(true)
    expect(await together('a', { op: 'mkdir', key: 'a/b/c' })).toBe(true)
  })

  it('where the link in it was removed before', async () => {
    expect(await together('deep', { op: 'unlink', key: 'deep/er/link' })).toBe(true)
  })

  it('where nothing was appended', async () => {
    const [put, gone] = await Promise.all([
      kvs.put('v', 'w'),
      run({ op: 'unlink', key: 'deep', recursive: true }),
    ])
    expect(put.ref).toBe(gone.ref)
  })

  it('but not where there is more to look through', async () => {
    expect(await together('many', ...values(linksSoughtMax + 1))).toBe(false)
  })
})
