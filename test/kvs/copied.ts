/** What the tests of copies begin with, and how they look at a tree. */

import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { text } from './expect.js'

export const seeds: readonly Op[] = [
  { op: 'put', key: 'v', value: 'value', contentType: 'text/plain' },
  { op: 'append', key: 'log', value: 'one' },
  { op: 'append', key: 'log', value: 'two' },
  { op: 'append', key: 'log', value: 'three', seal: true },
  { op: 'put', key: 'd/a', value: 'A' },
  { op: 'put', key: 'd/b/c', value: 'C' },
  { op: 'symlink', key: 'd/to-v', target: 'v' },
  { op: 'mkdir', key: 'empty' },
  { op: 'symlink', key: 'link', target: 'log' },
  { op: 'symlink', key: 'nowhere', target: 'none' },
]

/** Every key below a directory with its value; directories are `/`, links `-> target`. */
export async function treeOf(
  kvs: Kvs,
  key = '/',
  namespace = 'primary',
): Promise<Record<string, string>> {
  const { entries } = await kvs.list(key, { recursive: true, namespace })
  const found: Record<string, string> = {}
  for (const { name, type } of entries) {
    const at = `${key}/${name}`
    if (type === 'dir') found[name] = '/'
    else if (type === 'symlink') {
      found[name] = `-> ${(await kvs.stat(at, { nofollow: true, namespace }))?.target}`
    } else found[name] = text(await kvs.get(at, { namespace }))
  }
  return found
}
