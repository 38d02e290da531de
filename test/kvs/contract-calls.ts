/** Calls that a compiler would refuse, as they come from plain JavaScript. A part of the contract of `Kvs`: rfc/2,
 *  rule 11. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { refusal, text } from './expect.js'

type Call = (...given: readonly unknown[]) => unknown

/** A call by its name, such as `history.diff`, which takes whatever arguments. */
function callOf(kvs: Kvs, path: string): Call {
  const [name = '', part] = path.split('.').reverse()
  const owner = (part === undefined ? kvs : kvs[part as keyof Kvs]) as unknown
  return (owner as Readonly<Record<string, Call>>)[name] as Call
}

const token = { incarnation: '0', seq: 1 }
const put = { op: 'put', key: 'k', value: 'v' }
/** A stream of text, which is not bytes. */
const ofText = { [Symbol.asyncIterator]: textOnce }

async function* textOnce() {
  yield '123'
}

const calls: readonly (readonly [string, ...unknown[]])[] = [
  ['get', 'k', { att: 1 }],
  ['get', 'k', null],
  ['get', 'k', 'options'],
  ['get', 'k', []],
  ['get', 42],
  ['get'],
  ['get', 'k', { at: -1 }],
  ['get', 'k', { at: 1.5 }],
  ['get', 'k', { at: Number.NaN }],
  ['get', 'k', { minSeq: '1' }],
  ['get', 'k', { namespace: 7 }],
  ['get', 'k', { signal: {} }],
  ['get', 'k', { signal: true }],
  ['get', 'k', { constructor: 1 }],
  ['read', 'k', { index: 0, from: 1 }],
  ['read', 'k', { index: -1 }],
  ['read', 'k', { from: Number.POSITIVE_INFINITY }],
  ['read', 'k', { offset: 1 }],
  ['stat', 'k', { follow: false }],
  ['stat', 'k', { nofollow: 1 }],
  ['treeobj', 'k', { after: 'x' }],
  ['list', '', { after: 1 }],
  ['list', '', { recursive: 'yes' }],
  ['list', '', { limit: -1 }],
  ['list', '', { limit: 0 }],
  ['readMany', 'k'],
  ['readMany', [1]],
  ['readMany', ['k'], { limit: 1 }],
  ['root', { waitSeq: -1 }],
  ['root', { wait: 1 }],
  ['put', 'k'],
  ['put', 'k', 42],
  ['put', 'k', null],
  ['put', 'k', { some: 'object' }],
  ['put', 'k', ['a', 'b']],
  ['put', 'k', new ArrayBuffer(3)],
  ['put', 'k', ofText],
  ['put', 'k', 'v', { transfer: true }],
  ['put', 'k', 'v', { seal: true }],
  ['put', 'k', 'v', { ttl: Number.NaN }],
  ['put', 'k', 'v', { ttl: -1 }],
  ['put', 'k', 'v', { sliding: true }],
  ['put', 'k', 'v', { guards: { key: 'k' } }],
  ['put', 'k', 'v', { guards: [{}] }],
  ['put', 'k', 'v', { guards: [null] }],
  ['put', 'k', 'v', { guards: [{ key: 'k', absent: false }] }],
  ['put', 'k', 'v', { guards: [{ key: 'k', absent: true, count: 1 }] }],
  ['put', 'k', 'v', { guards: [{ key: 'k', cuont: 1 }] }],
  ['put', 'k', 'v', { contentType: 1 }],
  ['put', 'k', 'v', { exactlyOnce: 'yes' }],
  ['put', 'k', 'v', { idempotencyKey: 1 }],
  ['append', 'k', ofText],
  ['append', 'k', 'v', { contentType: 'text/plain' }],
  ['append', 'k', 'v', { seal: 'yes' }],
  ['append', 'k', 'v', { producer: 'me' }],
  ['append', 'k', 'v', { producer: { id: 'me', epoch: 0 } }],
  ['append', 'k', 'v', { producer: { id: 'me', epoch: 0, seq: -1 } }],
  ['commit'],
  ['commit', null],
  ['commit', []],
  ['commit', { opps: [] }],
  ['commit', { ops: {} }],
  ['commit', { ops: [null] }],
  ['commit', { ops: [[]] }],
  ['commit', { ops: [{}] }],
  ['commit', { ops: [{ op: 'fly', key: 'k' }] }],
  ['commit', { ops: [{ op: 'constructor', key: 'k' }] }],
  ['commit', { ops: [{ op: 'put', key: 'k' }] }],
  ['commit', { ops: [{ op: 'put', value: 'v' }] }],
  ['commit', { ops: [{ ...put, key: 1 }] }],
  ['commit', { ops: [{ ...put, mode: 7 }] }],
  ['commit', { ops: [{ ...put, seal: true }] }],
  ['commit', { ops: [put], nomerge: true }],
  ['commit', { ops: [put], noMerge: 1 }],
  ['commit', { ops: [put], guards: null }],
  ['commit', { ops: [put], guards: [{ seq: -1 }] }],
  ['commit', { ops: [{ op: 'trim', key: 'k' }] }],
  ['commit', { ops: [{ op: 'trim', key: 'k', keep: 1, before: 0 }] }],
  ['commit', { ops: [{ op: 'unlink', key: 'k', recursiv: true }] }],
  ['commit', { ops: [{ op: 'copy', key: 'k' }] }],
  ['commit', { ops: [{ op: 'move', key: 'k', from: 'l', at: 1 }] }],
  ['commit', { ops: [{ op: 'lease', key: 'k', action: 'steal', token }] }],
  ['commit', { ops: [{ op: 'lease', key: 'k', action: 'take', ttl: 1_000, token }] }],
  ['commit', { ops: [{ op: 'lease', key: 'k', action: 'renew', token: 'x' }] }],
  ['commit', { ops: [put] }, { seal: true }],
  ['producer', 'k', { epoch: -1 }],
  ['producer', 'k', { epoch: 'last' }],
  ['producer', 'k', { name: 'me' }],
  ['blobs.load', 7],
  ['blobs.store', 'text'],
  ['namespaces.list', { limit: 1 }],
  ['namespaces.create', 'n', { from: 'primary' }],
  ['namespaces.create', 'n', { from: { at: 1, name: 'x' } }],
  ['namespaces.create', 7],
  ['namespaces.remove', null],
  ['namespaces.configure', 'primary', { quotta: 1 }],
  ['namespaces.configure', 'primary', { historyCount: '1' }],
  ['namespaces.configure', 'primary'],
  ['upkeep.collect', { dryrun: true }],
  ['upkeep.collect', { onProgress: true }],
  ['upkeep.forget', 'k', { recursive: true }],
  ['upkeep.import', 'text'],
  ['upkeep.import', ofText],
  ['upkeep.import', ofText, { replac: true }],
  ['history.roots', { newest: 1 }],
  ['history.roots', { limit: -5 }],
  ['history.diff'],
  ['history.diff', {}],
  ['history.diff', { from: 0, prefix: 1 }],
  ['history.log', 'k', { after: 1 }],
  ['history.pin', 1],
  ['history.pin', 'p', { at: {} }],
  ['history.unpin', 'p', { namespace: 'primary' }],
  ['history.pins', null],
]

const streams: readonly (readonly [string, ...unknown[]])[] = [
  ['upkeep.export', { at: {} }],
  ['upkeep.export', { from: 1 }],
  ['watch', 'k'],
  ['watch', 'k', 'append'],
  ['watch', 'k', null],
  ['watch', 'k', {}],
  ['watch', 'k', { mode: 'both' }],
  ['watch', 'k', { mode: 'value', from: 0 }],
  ['watch', 'k', { mode: 'append', uniq: true }],
  ['watch', 'k', { mode: 'append', lease: true }],
  ['watch', 'k', { mode: 'append', from: '0' }],
  ['watch', 'k', { mode: 'append', from: null }],
  ['watch', 'k', { mode: 'append', from: { offset: -1 } }],
  ['watch', 'k', { mode: 'append', from: { offset: 0, index: 1 } }],
  ['watch', 'k', { mode: 'append', from: 1.5 }],
  ['watch', 'k', { mode: 'append', wait: true }],
  ['watch', 'k', { mode: 'append', waitCreate: 1 }],
  ['watch', 'k', { mode: 'append', signal: {} }],
  ['watch', 42, { mode: 'append' }],
]

export function callsContract(kvsOf: () => Kvs): void {
  describe('a wrong call', () => {
    let kvs: Kvs
    beforeEach(() => {
      kvs = kvsOf()
    })

    it('is EINVAL, and does nothing', async () => {
      await kvs.put('k', 'v')
      const { seq } = await kvs.root()
      for (const [name, ...given] of calls) {
        const call = async () => callOf(kvs, name)(...given)
        const error = await refusal(call())
        expect(error, `${name} ${shown(given)}`).toMatchObject({ code: 'EINVAL' })
      }
      for (const [name, ...given] of streams) {
        const call = async () => {
          const items = callOf(kvs, name)(...given) as AsyncIterable<unknown>
          for await (const _ of items);
        }
        expect(await refusal(call()), `${name} ${shown(given)}`).toMatchObject({ code: 'EINVAL' })
      }
      expect((await kvs.root()).seq).toBe(seq)
    })

    it('names what is wrong, and in a transaction the op or guard', async () => {
      const unknownField = callOf(kvs, 'get')('k', { att: 1 }) as Promise<unknown>
      expect((await refusal(unknownField)).message).toContain('att')
      const guards = [{ seq: 0 }, { key: 'k' }]
      const wrong = kvs.commit({ ops: [], guards: guards as never })
      expect(await refusal(wrong)).toMatchObject({ code: 'EINVAL', failed: { guard: 1 } })
      const ops = [put, { ...put, mode: 7 }]
      const stray = kvs.commit({ ops: ops as never })
      expect(await refusal(stray)).toMatchObject({ code: 'EINVAL', failed: { op: 1 } })
    })

    it('is none where a field is undefined, or a flag that means nothing is false', async () => {
      const nothing = { signal: undefined, namespace: undefined } as never
      await kvs.put('k', 'v', nothing)
      expect(text(await kvs.get('k', nothing))).toBe('v')
      const watching = kvs.watch('k', { mode: 'append', uniq: false, lease: false })
      expect((await watching.next()).value).toMatchObject({ type: 'append' })
      await watching.return?.()
    })
  })
}

function shown(given: readonly unknown[]): string {
  return JSON.stringify(given)
}
