/** Checks the arguments of each call of a `Kvs` before anything is done, embedded and over a server
 *  alike. See rfc/2, rule 11.
 *  Invariant: an unknown field, a value of another type, and an option that means nothing beside
 *  another one are EINVAL. They are never dropped, and never a TypeError. */

import type { AccessTokens, CreateTokenOptions, LinkOptions } from '../api/access.js'
import type { DiffOptions, History, LogOptions, RootsOptions } from '../api/history.js'
import type {
  AppendOptions,
  Blobs,
  CommitOptions,
  Kvs,
  ListOptions,
  ProducerOptions,
  PutOptions,
  ReadOptions,
  ReadScope,
  RootOptions,
  StatOptions,
  TreeobjOptions,
} from '../api/kvs.js'
import type { CreateNamespaceOptions, Namespaces, SettingsChange } from '../api/namespace.js'
import type { Expiry, Scope } from '../api/transaction.js'
import type { CollectOptions, ExportOptions, ImportOptions, Upkeep } from '../api/upkeep.js'
import type { ChangesPosition, From, Position, WatchOptions } from '../api/watch.js'
import {
  at,
  bytes,
  bytesOf,
  callback,
  check,
  checkOptions,
  checkValue,
  count,
  either,
  flag,
  invalid,
  number,
  oneOf,
  type Rule,
  type Shape,
  shapeOf,
  signal,
  stream,
  text,
  texts,
  within,
} from '../base/shape.js'
import { cap, checkGuards, checkTransaction, producer, value } from './op-shapes.js'

/** A list of guards. `checkGuards` checks each of them. */
const guards: Rule = { is: Array.isArray, expected: 'an array' }
const scoped = { namespace: text, signal }
const reading = { ...scoped, at, minSeq: count }
const page = { limit: count }
const expiry = { ttl: count, sliding: flag } satisfies { [name in keyof Required<Expiry>]: Rule }
const writing = {
  ...scoped,
  idempotencyKey: text,
  idempotencySince: count,
  exactlyOnce: flag,
  resend: flag,
  trace: text,
}
const bound = either(count, { is: (input) => input === null, expected: 'null' })

const shapes = {
  signal: shapeOf<{ signal?: AbortSignal }>({ signal }),
  scope: shapeOf<Scope>(scoped),
  commit: shapeOf<CommitOptions>({ ...writing, transfer: flag }),
  put: shapeOf<PutOptions>({ ...writing, ...expiry, cap, contentType: text, guards }),
  append: shapeOf<AppendOptions>({
    ...writing,
    ...expiry,
    cap,
    transfer: flag,
    seal: flag,
    producer,
    guards,
  }),
  producer: shapeOf<ProducerOptions>({
    ...scoped,
    id: text,
    epoch: either(count, oneOf('next')),
  }),
  get: shapeOf<ReadScope>(reading),
  read: shapeOf<ReadOptions>({ ...reading, index: count, from: count, to: count }),
  stat: shapeOf<StatOptions>({ ...reading, nofollow: flag }),
  treeobj: shapeOf<TreeobjOptions>({ ...reading, ...page, after: count }),
  list: shapeOf<ListOptions>({ ...reading, ...page, after: text, recursive: flag }),
  root: shapeOf<RootOptions>({ ...scoped, waitSeq: count, time: count }),
  createNamespace: shapeOf<CreateNamespaceOptions>({
    signal,
    from: within(shapeOf({ namespace: text, at })),
  }),
  settings: shapeOf<SettingsChange>({
    historyCount: count,
    historyAgeMs: count,
    historySize: count,
    quota: bound,
    keepJobs: bound,
    keepJobsAgeMs: bound,
    keepJobsSize: bound,
  }),
  collect: shapeOf<CollectOptions>({ signal, dryRun: flag, onProgress: callback }),
  export: shapeOf<ExportOptions>({ ...scoped, at, since: at, skipDamaged: flag }),
  import: shapeOf<ImportOptions>({ ...scoped, replace: flag }),
  roots: shapeOf<RootsOptions>({ ...scoped, ...page, after: count, before: count, newest: flag }),
  diff: shapeOf<DiffOptions>({ ...scoped, ...page, from: at, to: at, prefix: text, after: text }, [
    'from',
  ]),
  log: shapeOf<LogOptions>({ ...scoped, ...page, before: count }),
  pin: shapeOf<Scope & { at?: number | string }>({ ...scoped, at }),
  createToken: shapeOf<CreateTokenOptions>({ grants: texts, ttl: count, rate: number, signal }, [
    'grants',
  ]),
  link: shapeOf<LinkOptions>({
    ...{ key: text, namespace: text, job: text, follow: flag, ttl: count, signal },
  }),
  renewToken: shapeOf<{ ttl?: number; signal?: AbortSignal }>({ ttl: count, signal }),
}

const position = within(
  shapeOf<Position>({ incarnation: text, index: count, prefix: text }, [
    'incarnation',
    'index',
    'prefix',
  ]),
)
const from: Rule = {
  is: either(
    { is: Number.isSafeInteger, expected: '' },
    within(shapeOf<Exclude<From, number | Position>>({ offset: count }, ['offset'])),
    position,
  ).is,
  expected: 'an index, {offset} or a position {incarnation, index, prefix}',
}
const since: Rule = {
  is: either(
    count,
    within(
      shapeOf<ChangesPosition>(
        { incarnation: text, seq: count, to: count, after: text, ref: text },
        ['incarnation'],
      ),
    ),
  ).is,
  expected: 'a seq or a position {incarnation, seq, ...}',
}
const common = {
  namespace: text,
  signal,
  waitCreate: flag,
  mode: oneOf('append', 'value', 'changes'),
}
const watches = {
  any: shapeOf<WatchOptions>(
    { ...common, from, uniq: flag, lease: flag, lend: flag, since, initial: flag },
    ['mode'],
  ),
  append: ['uniq', 'lease', 'since', 'initial'],
  value: ['from', 'lend', 'since', 'initial'],
  changes: ['from', 'lend', 'uniq', 'lease', 'waitCreate'],
} as const

/** Wraps a store so that a call with wrong arguments fails with EINVAL. */
export function checkedKvs(kvs: Kvs): Kvs {
  return {
    commit: (transaction, options) =>
      checked(
        () => {
          checkTransaction(transaction)
          checkOptions(options, shapes.commit)
          checkAgain(options)
        },
        () => kvs.commit(transaction, options),
      ),
    put: (key, given, options) => {
      const check = () => {
        checkKey(key)
        checkValue('a value', given, putValue)
        checkOptions(options, shapes.put)
        checkAgain(options)
        checkGuards(options?.guards)
      }
      return checked(check, () => kvs.put(key, checkedValue(given), options))
    },
    append: (key, given, options) => {
      const check = () => {
        checkKey(key)
        checkValue('a value', given, value)
        checkOptions(options, shapes.append)
        checkAgain(options)
        checkGuards(options?.guards)
      }
      return checked(check, () => kvs.append(key, given, options))
    },
    producer: (key, options) =>
      keyed(key, options, shapes.producer, () => kvs.producer(key, options)),
    get: (key, options) => keyed(key, options, shapes.get, () => kvs.get(key, options)),
    read: (key, options) =>
      checked(
        () => {
          checkKey(key)
          checkOptions(options, shapes.read)
          checkRead(options)
        },
        () => kvs.read(key, options),
      ),
    stat: (key, options) => keyed(key, options, shapes.stat, () => kvs.stat(key, options)),
    treeobj: (key, options) => keyed(key, options, shapes.treeobj, () => kvs.treeobj(key, options)),
    list: (key, options) => keyed(key, options, shapes.list, () => kvs.list(key, options)),
    readMany: (keys, options) =>
      checked(
        () => {
          checkValue('keys', keys, texts)
          checkOptions(options, shapes.get)
        },
        () => kvs.readMany(keys, options),
      ),
    root: (options) => scopedBy(options, shapes.root, () => kvs.root(options)),
    watch: (key, options) => {
      const check = () => {
        checkKey(key)
        checkWatch(options)
      }
      return iterated(check, () => kvs.watch(key, options))
    },
    history: checkedHistory(kvs.history),
    namespaces: checkedNamespaces(kvs.namespaces),
    upkeep: checkedUpkeep(kvs.upkeep),
    blobs: checkedBlobs(kvs.blobs),
  }
}

/** Wraps access tokens so that a call with wrong arguments fails with EINVAL. */
export function checkedTokens(tokens: AccessTokens): AccessTokens {
  return {
    create: (name, options) =>
      checked(
        () => {
          checkValue('a name', name, text)
          check('options', options, shapes.createToken)
        },
        () => tokens.create(name, options),
      ),
    list: (options) => scopedBy(options, shapes.signal, () => tokens.list(options)),
    renew: (id, options) => named(id, options, shapes.renewToken, () => tokens.renew(id, options)),
    revoke: (id, options) => named(id, options, shapes.signal, () => tokens.revoke(id, options)),
    link: (options) =>
      checked(
        () => check('options', options, shapes.link),
        () => tokens.link(options),
      ),
  }
}

function checkedBlobs(blobs: Blobs): Blobs {
  return {
    load: (ref, options) => named(ref, options, shapes.signal, () => blobs.load(ref, options)),
    store: (blob, options) =>
      checked(
        () => {
          checkValue('a blob', blob, bytes)
          checkOptions(options, shapes.signal)
        },
        () => blobs.store(blob, options),
      ),
  }
}

function checkedNamespaces(namespaces: Namespaces): Namespaces {
  return {
    list: (options) => scopedBy(options, shapes.signal, () => namespaces.list(options)),
    create: (name, options) =>
      named(name, options, shapes.createNamespace, () => namespaces.create(name, options)),
    remove: (name, options) =>
      named(name, options, shapes.signal, () => namespaces.remove(name, options)),
    configure: (name, change, options) =>
      checked(
        () => {
          checkValue('a name', name, text)
          check('settings', change, shapes.settings)
          checkOptions(options, shapes.signal)
        },
        () => namespaces.configure(name, change, options),
      ),
  }
}

function checkedUpkeep(upkeep: Upkeep): Upkeep {
  return {
    usage: (options) => scopedBy(options, shapes.signal, () => upkeep.usage(options)),
    collect: (options) => scopedBy(options, shapes.collect, () => upkeep.collect(options)),
    forget: (key, options) => keyed(key, options, shapes.scope, () => upkeep.forget(key, options)),
    export: (options) =>
      iterated(
        () => checkOptions(options, shapes.export),
        () => upkeep.export(options),
      ),
    import: (chunks, options) =>
      checked(
        () => {
          checkValue('an import', chunks, stream)
          checkOptions(options, shapes.import)
        },
        () => upkeep.import(bytesOf(chunks), options),
      ),
  }
}

function checkedHistory(history: History): History {
  return {
    roots: (options) => scopedBy(options, shapes.roots, () => history.roots(options)),
    diff: (options) => scopedBy(options, shapes.diff, () => history.diff(options)),
    log: (key, options) => keyed(key, options, shapes.log, () => history.log(key, options)),
    pin: (name, options) => named(name, options, shapes.pin, () => history.pin(name, options)),
    unpin: (name, options) =>
      named(name, options, shapes.signal, () => history.unpin(name, options)),
    pins: (options) => scopedBy(options, shapes.signal, () => history.pins(options)),
  }
}

const putValue: Rule = either(value, stream)

/** Makes the call if the check passes. A failed check rejects the promise. */
function checked<T>(check: () => void, call: () => Promise<T>): Promise<T> {
  try {
    check()
  } catch (error) {
    return Promise.reject(error)
  }
  return call()
}

/** Makes the call if the check passes. A failed check throws at the first iteration. */
function iterated<T>(check: () => void, call: () => T): T | AsyncGenerator<never, undefined> {
  try {
    check()
  } catch (error) {
    return failing(error)
  }
  return call()
}

// biome-ignore lint/correctness/useYield: it only throws
async function* failing(error: unknown): AsyncGenerator<never, undefined> {
  throw error
}

function keyed<T>(key: string, options: unknown, shape: Shape, call: () => Promise<T>): Promise<T> {
  const check = () => {
    checkKey(key)
    checkOptions(options, shape)
  }
  return checked(check, call)
}

function named<T>(
  name: string,
  options: unknown,
  shape: Shape,
  call: () => Promise<T>,
): Promise<T> {
  const check = () => {
    checkValue('a name', name, text)
    checkOptions(options, shape)
  }
  return checked(check, call)
}

function scopedBy<T>(options: unknown, shape: Shape, call: () => Promise<T>): Promise<T> {
  return checked(() => checkOptions(options, shape), call)
}

function checkKey(key: unknown): void {
  checkValue('a key', key, text)
}

function checkRead({ index, from: begin, to }: ReadOptions = {}): void {
  if (index === undefined || (begin === undefined && to === undefined)) return
  throw invalid('options.index reads one blob: it does not go with from and to')
}

/** Throws EINVAL for two answers to a write that is not answered, and for a seq that belongs to no
 *  idempotency key. */
export function checkAgain({
  exactlyOnce,
  resend,
  idempotencyKey,
  idempotencySince,
}: CommitOptions = {}): void {
  if (exactlyOnce && resend) throw invalid('options.resend means nothing beside exactlyOnce')
  if (idempotencySince === undefined || idempotencyKey !== undefined) return
  throw invalid('options.idempotencySince means nothing without idempotencyKey')
}

/** Throws EINVAL for an option that means nothing in the mode, unless it is false. */
function checkWatch(options: WatchOptions): void {
  check('options', options, watches.any)
  const fields: Readonly<Record<string, unknown>> = options
  if (options.initial && options.since !== undefined) {
    throw invalid('options.initial means nothing beside since')
  }
  const stray = watches[options.mode].find(
    (name) => fields[name] !== undefined && fields[name] !== false,
  )
  if (stray === undefined) return
  throw invalid(`options.${stray} means nothing in a watch of mode ${options.mode}`)
}

function checkedValue(given: Parameters<Kvs['put']>[1]): Parameters<Kvs['put']>[1] {
  return typeof given === 'string' || given instanceof Uint8Array ? given : bytesOf(given)
}
