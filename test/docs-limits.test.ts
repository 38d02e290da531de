/** One more than a limit, embedded and over a server: the error is the one that `docs/limits.md` says. The limits
 *  themselves, and what holds just below them, are tried where they belong. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  accessTokenTtlMax,
  accessTokenTtlMin,
  grantsMax,
  linkTtlMax,
  linkTtlMin,
  tokenNameMax,
  tokenRateMax,
} from '../src/api/access.js'
import { type EventValue, eventDepthMax, eventNameSizeMax, eventSizeMax } from '../src/api/event.js'
import { pinNameSizeMax } from '../src/api/history.js'
import {
  argSizeMax,
  argsSizeMax,
  jobNameSizeMax,
  startAheadMsMax,
  timeLimitMsMax,
} from '../src/api/job.js'
import { pageMax, readKeysMax } from '../src/api/kvs.js'
import { leasesAtOnceMax } from '../src/api/lease.js'
import type { Store } from '../src/api/store.js'
import {
  guardsMax,
  idempotencyKeySizeMax,
  keyNamesMax,
  opsMax,
  producerIdSizeMax,
  transactionSizeMax,
} from '../src/api/transaction.js'
import { connect } from '../src/client/node.js'
import { isCode } from '../src/error.js'
import { open } from '../src/open.js'
import { expiryTtlMax } from '../src/present/expiry.js'
import { leaseOwnerSizeMax, leaseTtlMax, takeIdSizeMax } from '../src/present/leases.js'
import { attrSizeMax, linksMax } from '../src/treeobj/treeobj.js'
import { Sandbox } from './support/sandbox.js'
import { tablesOf } from './tidy/markdown.js'
import { readText } from './tidy/tree.js'

const text = (size: number) => 'x'.repeat(size)
const times = <T>(count: number, make: (at: number) => T) =>
  Array.from({ length: count }, (_, at) => make(at))
const command = { command: ['true'], cwd: '/', env: {} }

/** A call that is above a limit by one, by the name of the limit. */
const calls: Readonly<Record<string, (store: Store) => Promise<unknown>>> = {
  keySizeMax: (store) =>
    store.put(
      times(5, () => text(204))
        .join('/')
        .padEnd(1_025, 'x'),
      '',
    ),
  componentSizeMax: (store) => store.put(text(256), ''),
  namespaceSizeMax: (store) => store.namespaces.create(text(64)),
  linksMax: async (store) => {
    const link = (at: number) => ({ op: 'symlink', key: `l${at}`, target: `l${at + 1}` }) as const
    await store.commit({ ops: times(linksMax + 1, link) })
    await store.get('l0')
  },
  attrSizeMax: (store) => store.put('k', '', { contentType: text(attrSizeMax + 1) }),
  readKeysMax: (store) => store.readMany(times(readKeysMax + 1, () => 'k')),
  pageMax: (store) => store.list('', { limit: pageMax + 1 }),
  expiryTtlMax: (store) => store.put('k', '', { ttl: expiryTtlMax + 1 }),
  opsMax: (store) => store.commit({ ops: times(opsMax + 1, () => ({ op: 'mkdir', key: 'd' })) }),
  guardsMax: (store) => store.commit({ ops: [], guards: times(guardsMax + 1, () => ({ seq: 0 })) }),
  transactionSizeMax: (store) => store.append('k', Buffer.alloc(transactionSizeMax + 1)),
  keyNamesMax: (store) => {
    const key = times(500, () => 'd').join('/')
    const ops = times(Math.ceil((keyNamesMax + 1) / 500), () => ({ op: 'mkdir', key }) as const)
    return store.commit({ ops })
  },
  idempotencyKeySizeMax: (store) =>
    store.put('k', '', { idempotencyKey: text(idempotencyKeySizeMax + 1) }),
  producerIdSizeMax: (store) =>
    store.append('k', '', { producer: { id: text(producerIdSizeMax + 1), epoch: 0, seq: 0 } }),
  pinNameSizeMax: (store) => store.history.pin(text(pinNameSizeMax + 1)),
  leaseTtlMax: (store) => store.leases.take('k', { ttl: leaseTtlMax + 1 }),
  leaseOwnerSizeMax: (store) => store.leases.take('k', { owner: text(leaseOwnerSizeMax + 1) }),
  takeIdSizeMax: (store) => {
    const takeId = text(takeIdSizeMax + 1)
    return store.commit({ ops: [{ op: 'lease', key: 'k', action: 'take', ttl: 1, takeId }] })
  },
  leasesAtOnceMax: (store) => store.leases.takeEach(times(leasesAtOnceMax + 1, (at) => `k${at}`)),
  grantsMax: (store) =>
    store.tokens.create('t', { grants: times(grantsMax + 1, (at) => `read@primary/${at}`) }),
  tokenNameMax: (store) => store.tokens.create(text(tokenNameMax + 1), { grants: ['read'] }),
  tokenRateMax: (store) => store.tokens.create('t', { grants: ['read'], rate: tokenRateMax + 1 }),
  accessTokenTtlMin: (store) =>
    store.tokens.create('t', { grants: ['read'], ttl: accessTokenTtlMin - 1 }),
  accessTokenTtlMax: (store) =>
    store.tokens.create('t', { grants: ['read'], ttl: accessTokenTtlMax + 1 }),
  linkTtlMin: (store) => store.tokens.link({ key: 'k', ttl: linkTtlMin - 1 }),
  linkTtlMax: (store) => store.tokens.link({ key: 'k', ttl: linkTtlMax + 1 }),
  argSizeMax: (store) => store.jobs.submit({ ...command, command: [text(argSizeMax + 1)] }),
  argsSizeMax: (store) => {
    const args = times(argsSizeMax / 65_536, () => text(65_536))
    return store.jobs.submit({ ...command, command: args })
  },
  jobNameSizeMax: (store) => store.jobs.submit({ ...command, name: text(jobNameSizeMax + 1) }),
  timeLimitMsMax: (store) => store.jobs.submit({ ...command, timeLimitMs: timeLimitMsMax + 1 }),
  startAheadMsMax: (store) =>
    store.jobs.submit({ ...command, startAt: Date.now() + startAheadMsMax + 60_000 }),
  eventNameSizeMax: (store) =>
    store.eventlog('e').append([{ timestamp: 0, name: text(eventNameSizeMax + 1) }]),
  eventDepthMax: (store) => {
    const nested = times(eventDepthMax, () => 0).reduce<EventValue>((inner) => ({ inner }), {
      inner: 0,
    })
    return store.eventlog('e').append([{ timestamp: 0, name: 'n', context: { nested } }])
  },
  eventSizeMax: (store) =>
    store.eventlog('e').append([{ timestamp: 0, name: 'n', context: { a: text(eventSizeMax) } }]),
}

/** What the page says of each limit. */
const said = new Map(
  tablesOf(readText('docs/limits.md')).flatMap(({ rows }) =>
    rows.map((row) => [row['Name']?.replaceAll('`', ''), row['Beyond it'] ?? ''] as const),
  ),
)

let sandbox: Sandbox
const stores: Record<string, Store> = {}
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
  stores['embedded'] = await open()
  stores['over a server'] = await connect(`unix:${sandbox.data}/tailrace.sock`)
})
afterAll(async () => {
  for (const store of Object.values(stores)) await store.close()
  await sandbox.remove()
})

describe.each(['embedded', 'over a server'])('one more, %s,', (where) => {
  it.each(Object.keys(calls))('than %s is the error of docs/limits.md', async (name) => {
    const store = stores[where]
    if (!store) throw new Error('no store')
    const error = await calls[name]?.(store).then(
      () => 'no error',
      (thrown: unknown) => thrown,
    )
    // `EINVAL`; over a server `E2BIG`: the first one holds for both, unless the page says so.
    const [first, other] = (said.get(name)?.split('; over a server') ?? []).map(
      (part) => /`(E\w+)`/.exec(part)?.[1],
    )
    const code = where === 'embedded' ? first : (other ?? first)
    const isSo = code !== undefined && isCode(error, code as 'EINVAL')
    expect([name, isSo ? code : error]).toEqual([name, code])
  })
})
