/** Requests that change or read several keys at once. See rfc/6, rfc/12.
 *  Invariant: a transaction that was parsed has the shape and the bounds of api/transaction.ts. The
 *  store still checks its keys, refs and times. */

import { readKeysMax } from '../api/kvs.js'
import {
  type Cap,
  type Capping,
  type Committed,
  type CommittedOp,
  type Expiry,
  type Guard,
  guardsMax,
  type Op,
  type OpResult,
  opsMax,
  type Producer,
  type TakeRefusal,
  type Token,
  type Transaction,
  transactionSizeMax,
} from '../api/transaction.js'
import { type Failed, TailraceError } from '../error.js'
import type { Base } from '../treeobj/treeobj.js'
import { request } from './request.js'
import {
  answered,
  anything,
  arrayOf,
  asked,
  at,
  blobref,
  bytes,
  checkedBy,
  chosenOf,
  constant,
  converted,
  count,
  type FieldsOf,
  flag,
  named,
  nullable,
  optional,
  parse,
  type Schema,
  scalar,
  text,
  textOrBytes,
  variantOf,
  withFailed,
} from './schema.js'
import { tokenOfText } from './token.js'

/** The largest size of a content type, in bytes. */
const contentTypeSizeMax = 255

/** A content type: printable ASCII, so that it can stand in a header. */
export const contentType = scalar<string>(
  (input) =>
    typeof input === 'string' && input.length <= contentTypeSizeMax && /^[\x20-\x7e]+$/.test(input),
  `1 to ${contentTypeSizeMax} characters of visible ASCII`,
  { type: 'string', minLength: 1, maxLength: contentTypeSizeMax, pattern: '^[ -~]+$' },
)

/** A number of things, and the sum of their sizes in bytes. */
export const totals = named('Totals', answered<Base>({ count, size: count }))

const tokenFields: FieldsOf<Token> = { incarnation: text, seq: count }
/** The fencing token of a lease, as an answer has it. */
export const tokenGiven = named('Token', answered<Token>(tokenFields))
const tokenObject = asked<Token>(tokenFields)
/** The fencing token of a lease: an object, or the text INCARNATION:SEQ. */
const token = converted<Token>(
  (input) => {
    if (typeof input !== 'string') return tokenObject.read(input)
    const found = tokenOfText(input)
    if (found) return found
    throw new TailraceError('EINVAL', 'must be INCARNATION:SEQ, or {"incarnation", "seq"}')
  },
  { oneOf: [tokenGiven.json, { type: 'string', pattern: '^[0-9a-f.]+:[0-9]+$' }] },
)

const capFields: FieldsOf<Cap> = {
  keep: optional(count),
  keepBytes: optional(count),
  keepAge: optional(count),
}
/** The cap of a log, as an answer has it. */
export const capGiven = named('Cap', answered<Cap>(capFields))
const producer = named('Producer', asked<Producer>({ id: text, epoch: count, seq: count }))
const life: FieldsOf<Expiry & Capping> = {
  ttl: optional(count),
  sliding: optional(flag),
  cap: optional(nullable(asked<Cap>(capFields))),
}

type OpOf<Name extends Op['op']> = Extract<Op, { readonly op: Name }>
type Trim = { readonly op: 'trim'; readonly key: string }
const trim = { op: constant('trim'), key: text }
const trims = {
  before: asked<Trim & { readonly before: number }>({ ...trim, before: count }),
  keep: asked<Trim & { readonly keep: number }>({ ...trim, keep: count }),
  keepBytes: asked<Trim & { readonly keepBytes: number }>({ ...trim, keepBytes: count }),
  olderThan: asked<Trim & { readonly olderThan: number }>({ ...trim, olderThan: count }),
}
const source = { from: text, namespace: optional(text), at: optional(at) }
type LeaseOf<Action> = Extract<OpOf<'lease'>, { readonly action: Action }>
const lease = { op: constant('lease'), key: text }

const ops: { readonly [Name in Op['op']]: Schema<OpOf<Name>> } = {
  put: asked<OpOf<'put'>>({
    op: constant('put'),
    key: text,
    value: textOrBytes,
    contentType: optional(contentType),
    ...life,
  }),
  append: asked<OpOf<'append'>>({
    op: constant('append'),
    key: text,
    value: textOrBytes,
    seal: optional(flag),
    producer: optional(producer),
    ...life,
  }),
  seal: asked<OpOf<'seal'>>({ op: constant('seal'), key: text }),
  trim: oneAmong(trims),
  unlink: asked<OpOf<'unlink'>>({
    op: constant('unlink'),
    key: text,
    recursive: optional(flag),
  }),
  mkdir: asked<OpOf<'mkdir'>>({ op: constant('mkdir'), key: text }),
  symlink: asked<OpOf<'symlink'>>({
    op: constant('symlink'),
    key: text,
    target: text,
    namespace: optional(text),
  }),
  copy: asked<OpOf<'copy'>>({
    op: constant('copy'),
    key: text,
    ...source,
    replace: optional(flag),
  }),
  move: asked<OpOf<'move'>>({
    op: constant('move'),
    key: text,
    from: text,
    namespace: optional(text),
    replace: optional(flag),
  }),
  fork: asked<OpOf<'fork'>>({ op: constant('fork'), key: text, ...source, count }),
  restore: asked<OpOf<'restore'>>({ op: constant('restore'), key: text, at }),
  treeobj: asked<Omit<OpOf<'treeobj'>, 'treeobj'> & { readonly treeobj: object }>({
    op: constant('treeobj'),
    key: text,
    treeobj: anything as Schema<object>,
    dangling: optional(flag),
  }),
  lease: variantOf<OpOf<'lease'>>('action', {
    take: asked<LeaseOf<'take'>>({
      ...lease,
      action: constant('take'),
      ttl: count,
      owner: optional(text),
      takeId: optional(text),
      ifAbsent: optional(flag),
      optional: optional(flag),
    }),
    renew: asked<LeaseOf<'renew'>>({
      ...lease,
      action: constant('renew'),
      token,
      ttl: optional(count),
    }),
    release: asked<LeaseOf<'release'>>({ ...lease, action: constant('release'), token }),
  }),
}
const op = named('Op', variantOf<Op>('op', ops))

type GuardOf<Name extends string> = Extract<Guard, { readonly [name in Name]: unknown }>
const guard = named(
  'Guard',
  oneAmong<Guard>({
    absent: asked<GuardOf<'absent'>>({ key: text, absent: constant(true) }),
    ref: asked<GuardOf<'ref'>>({ key: text, ref: text }),
    count: asked<GuardOf<'count'>>({ key: text, count }),
    seq: asked<GuardOf<'seq'>>({ seq: count }),
    lease: asked<GuardOf<'lease'>>({ lease: text, token }),
    producer: asked<GuardOf<'producer'>>({
      key: text,
      producer: text,
      epoch: count,
      next: count,
    }),
  }),
)
/** The guards of a transaction. */
export const guards = arrayOf(guard, {
  max: guardsMax,
  message: `a transaction has at most ${guardsMax} guards`,
})

const transaction = named(
  'Transaction',
  checkedBy(
    withFailed(
      asked<Transaction>({
        guards: optional(guards),
        ops: arrayOf(op, { max: opsMax, message: `a transaction has at most ${opsMax} ops` }),
        noMerge: optional(flag),
      }),
      failedOf,
    ),
    checkSize,
  ),
)

const takeRefusal = named(
  'TakeRefusal',
  answered<TakeRefusal>({
    lease: optional(
      answered<NonNullable<TakeRefusal['lease']>>({
        ...{ key: text, token: tokenGiven, ttl: count },
        owner: optional(text),
      }),
    ),
    present: optional(constant(true)),
  }),
)

const opResult = named(
  'OpResult',
  answered<OpResult>({
    ref: optional(blobref),
    index: optional(count),
    count: optional(count),
    repeated: optional(constant(true)),
    token: optional(tokenGiven),
    base: optional(totals),
    refused: optional(takeRefusal),
  }),
)
const committed = { seq: count, ref: blobref, repeated: optional(constant(true)) }
/** The answer to a write of one key. */
export const committedOp = named(
  'CommittedOp',
  answered<CommittedOp>({ ...committed, result: opResult }),
)

export const txn = request({
  name: 'txn',
  method: 'POST',
  path: '/v1/txn',
  summary: 'Change several keys at once, or none of them',
  right: 'write',
  namespaced: true,
  inOrder: true,
  headers: ['idempotency-key', 'idempotency-since'],
  body: transaction,
  answer: named('Committed', answered<Committed>({ ...committed, results: arrayOf(opResult) })),
  errors: [
    'ECONFLICT',
    'EFENCED',
    'EISDIR',
    'ENOTDIR',
    'EEXIST',
    'ENOTEMPTY',
    'ESEALED',
    'ENOENT',
    'ELOOP',
    'ECOMPACTED',
    'E2BIG',
    'EDQUOT',
    'ENONS',
    'EPERM',
  ],
})

export const read = request({
  name: 'read',
  method: 'POST',
  path: '/v1/read',
  summary: 'Read several small values at one root',
  right: 'read',
  namespaced: true,
  waits: 'minSeq',
  body: asked<{
    readonly keys: readonly string[]
    readonly at?: number | string
    readonly minSeq?: number
  }>({
    keys: arrayOf(text, {
      max: readKeysMax,
      message: `at most ${readKeysMax} keys are read at once`,
    }),
    at: optional(at),
    minSeq: optional(count),
  }),
  answer: named(
    'Values',
    answered<{ readonly seq: number; readonly values: readonly (Uint8Array | null)[] }>({
      seq: count,
      values: arrayOf(nullable(bytes)),
    }),
  ),
  errors: ['E2BIG', 'EISDIR', 'ENOTDIR', 'ELOOP', 'ENONS', 'ECOMPACTED'],
})

/** Parses a transaction. Throws EINVAL, E2BIG (above `opsMax`, `guardsMax` or
 *  `transactionSizeMax`). */
export function parseTransaction(input: unknown): Transaction {
  return parse(transaction, input, '')
}

/** Makes the schema of one of several objects; each has a field that no other has. */
function oneAmong<T>(options: Readonly<Record<string, Schema<unknown>>>): Schema<T> {
  const names = Object.keys(options)
  const several = `must have exactly one of ${names.join(', ')}`
  return chosenOf(Object.values(options), (fields) => {
    let found: string | undefined
    for (const name of names) {
      if (fields[name] === undefined) continue
      if (found !== undefined) return several
      found = name
    }
    return (found !== undefined && options[found]) || several
  })
}

function failedOf([list, index]: readonly (string | number)[]): Failed | undefined {
  if (typeof index !== 'number') return undefined
  return list === 'ops' ? { op: index } : { guard: index }
}

function checkSize({ ops: given }: Transaction): void {
  let size = 0
  for (const each of given) if ('value' in each) size += each.value.length
  if (size <= transactionSizeMax) return
  const message = `the values of a transaction have at most ${transactionSizeMax} bytes; PUT streams`
  throw new TailraceError('E2BIG', message)
}
