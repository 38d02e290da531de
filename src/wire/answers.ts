/** What a server answers, read once by its client. See rfc/12. The checks are light: shapes, not
 *  meanings, and fields that are not known are let through, since the server may be newer.
 *  Invariant: an answer that cannot be read is an EIO that says so, never half an answer. */

import type { JobPage, JobState, JobView, Pruned } from '../api/job.js'
import type { ListEntry, Listing, RootView, Stat } from '../api/kvs.js'
import type { NamespaceView, Settings } from '../api/namespace.js'
import type { Committed, CommittedOp, OpResult } from '../api/transaction.js'
import type { Usage } from '../api/upkeep.js'
import type { Position } from '../api/watch.js'
import { parseBlobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import type { TreeobjJson } from '../tree/json.js'
import type { Attrs, Base } from '../tree/treeobj.js'
import { parseCap, parseToken, parseValue } from './op.js'
import {
  type Fields,
  invalid,
  optional,
  parseArray,
  parseFields,
  parseFlag,
  parseInteger,
  parseNumber,
  parseText,
  parseTexts,
} from './parse.js'

const types = ['val', 'valref', 'dir', 'symlink'] as const
const jsonTypes = ['val', 'valref', 'dir', 'dirref', 'symlink'] as const
const states = ['submitted', 'running', 'finished', 'lost'] as const satisfies readonly JobState[]

/** Runs a parser over an answer: its EINVAL is the server's fault, so it becomes EIO. */
export function readAnswer<T>(input: unknown, parse: (input: unknown) => T): T {
  try {
    return parse(input)
  } catch (cause) {
    if (!isCode(cause, 'EINVAL')) throw cause
    const message = `the server's answer could not be read (${cause.message}); are both of one version?`
    throw new TailraceError('EIO', message, { cause })
  }
}

export function parseCommitted(input: unknown): Committed {
  const fields = parseFields(input, 'answer')
  return {
    seq: parseInteger(fields['seq'], 'seq'),
    ref: parseBlobref(fields['ref']),
    results: parseArray(fields['results'], 'results').map(parseOpResult),
    ...parseRepeated(fields),
  }
}

export function parseCommittedOp(input: unknown): CommittedOp {
  const fields = parseFields(input, 'answer')
  return {
    seq: parseInteger(fields['seq'], 'seq'),
    ref: parseBlobref(fields['ref']),
    result: parseOpResult(fields['result']),
    ...parseRepeated(fields),
  }
}

export function parseStat(input: unknown): Stat {
  const fields = parseFields(input, 'stat')
  return {
    type: parseOneOf(fields['type'], types, 'type'),
    ref: parseBlobref(fields['ref']),
    count: parseInteger(fields['count'], 'count'),
    size: parseInteger(fields['size'], 'size'),
    sealed: parseFlag(fields['sealed'], 'sealed'),
    ...optional('base', fields, 'stat', parseTotals),
    ...optional('attrs', fields, 'stat', parseAttrs),
    ...optional('expires', fields, 'stat', parseInteger),
    ...optional('cap', fields, 'stat', parseCap),
    ...optional('target', fields, 'stat', parseText),
    ...optional('namespace', fields, 'stat', parseText),
    seq: parseInteger(fields['seq'], 'seq'),
  }
}

export function parseListing(input: unknown): Listing {
  const fields = parseFields(input, 'listing')
  return {
    entries: parseArray(fields['entries'], 'entries').map(parseListEntry),
    more: parseFlag(fields['more'], 'more'),
    seq: parseInteger(fields['seq'], 'seq'),
  }
}

export function parseTreeobjJson(input: unknown): TreeobjJson {
  const fields = parseFields(input, 'treeobj')
  if (fields['ver'] !== 1) throw invalid('treeobj.ver must be 1')
  return {
    ver: 1,
    type: parseOneOf(fields['type'], jsonTypes, 'type'),
    data: fields['data'],
    ...optional('attrs', fields, 'treeobj', parseAttrs),
    ...optional('sizes', fields, 'treeobj', parseIntegers),
    ...optional('more', fields, 'treeobj', parseFlags),
    ...optional('count', fields, 'treeobj', parseInteger),
    ...optional('size', fields, 'treeobj', parseInteger),
    ...optional('base', fields, 'treeobj', parseTotals),
    ...optional('ref', fields, 'treeobj', parseBlobref),
    ...optional('next', fields, 'treeobj', parseInteger),
  }
}

export function parseRootView(input: unknown): RootView {
  const fields = parseFields(input, 'root')
  return {
    namespace: parseText(fields['namespace'], 'namespace'),
    seq: parseInteger(fields['seq'], 'seq'),
    ref: parseBlobref(fields['ref']),
    incarnation: parseText(fields['incarnation'], 'incarnation'),
    time: parseNumber(fields['time'], 'time'),
  }
}

export function parseNamespaceView(input: unknown): NamespaceView {
  const fields = parseFields(input, 'namespace')
  return {
    name: parseText(fields['name'], 'name'),
    incarnation: parseText(fields['incarnation'], 'incarnation'),
    owner: parseText(fields['owner'], 'owner'),
    created: parseNumber(fields['created'], 'created'),
    seq: parseInteger(fields['seq'], 'seq'),
    ref: parseBlobref(fields['ref']),
    keys: parseInteger(fields['keys'], 'keys'),
    size: parseInteger(fields['size'], 'size'),
    historySize: parseInteger(fields['historySize'], 'historySize'),
    settings: parseSettings(fields['settings']),
  }
}

export function parseUsage(input: unknown): Usage {
  const fields = parseFields(input, 'usage')
  return {
    ...optional('disk', fields, 'usage', parseInteger),
    stored: parseInteger(fields['stored'], 'stored'),
    live: parseInteger(fields['live'], 'live'),
    history: parseInteger(fields['history'], 'history'),
  }
}

export function parseNamespaceViews(input: unknown): NamespaceView[] {
  const fields = parseFields(input, 'answer')
  return parseArray(fields['namespaces'], 'namespaces').map(parseNamespaceView)
}

export function parseValues(input: unknown): {
  readonly seq: number
  readonly values: readonly (Uint8Array | undefined)[]
} {
  const fields = parseFields(input, 'answer')
  const values = parseArray(fields['values'], 'values')
  return {
    seq: parseInteger(fields['seq'], 'seq'),
    values: values.map((value, index) =>
      value === null ? undefined : parseValue(value, `values[${index}]`),
    ),
  }
}

export function parseJobView(input: unknown): JobView {
  const fields = parseFields(input, 'job')
  return {
    id: parseText(fields['id'], 'id'),
    state: parseOneOf(fields['state'], states, 'state'),
    ...optional('name', fields, 'job', parseText),
    command: parseTexts(fields['command'], 'command'),
    cwd: parseText(fields['cwd'], 'cwd'),
    submitted: parseNumber(fields['submitted'], 'submitted'),
    ...optional('started', fields, 'job', parseNumber),
    ...optional('finished', fields, 'job', parseNumber),
    ...optional('pid', fields, 'job', parseInteger),
    ...optional('status', fields, 'job', parseInteger),
    ...optional('signal', fields, 'job', parseText),
    ...optional('exception', fields, 'job', parseException),
  }
}

export function parsePruned(input: unknown): Pruned {
  const fields = parseFields(input, 'pruned')
  return {
    jobs: parseArray(fields['jobs'], 'jobs').map(parseJobView),
    ...optional('next', fields, 'pruned', parseText),
  }
}

export function parseJobPage(input: unknown): JobPage {
  const fields = parseFields(input, 'jobs')
  return {
    jobs: parseArray(fields['jobs'], 'jobs').map(parseJobView),
    more: parseFlag(fields['more'], 'more'),
    ...optional('next', fields, 'jobs', parseText),
    total: parseInteger(fields['total'], 'total'),
    size: parseInteger(fields['size'], 'size'),
  }
}

export function parsePosition(input: unknown, what = 'position'): Position {
  const fields = parseFields(input, what)
  return {
    incarnation: parseText(fields['incarnation'], `${what}.incarnation`),
    index: parseInteger(fields['index'], `${what}.index`),
    prefix: parseBlobref(fields['prefix']),
  }
}

export function parseOneOf<T extends string>(input: unknown, known: readonly T[], what: string): T {
  const found = known.find((name) => name === input)
  if (found === undefined) throw invalid(`${what} must be one of ${known.join(', ')}`)
  return found
}

function parseOpResult(input: unknown): OpResult {
  const fields = parseFields(input, 'result')
  return {
    ...optional('ref', fields, 'result', parseBlobref),
    ...optional('index', fields, 'result', parseInteger),
    ...optional('count', fields, 'result', parseInteger),
    ...parseRepeated(fields),
    ...optional('token', fields, 'result', parseToken),
    ...optional('base', fields, 'result', parseTotals),
  }
}

function parseRepeated(fields: Fields): { readonly repeated?: true } {
  return fields['repeated'] === true ? { repeated: true } : {}
}

/** So many things, and their bytes. */
export function parseTotals(input: unknown, what: string): Base {
  const fields = parseFields(input, what)
  return {
    count: parseInteger(fields['count'], `${what}.count`),
    size: parseInteger(fields['size'], `${what}.size`),
  }
}

export function parseSettings(input: unknown, what = 'settings'): Settings {
  const fields = parseFields(input, what)
  return {
    historyCount: parseInteger(fields['historyCount'], `${what}.historyCount`),
    historyAgeMs: parseNumber(fields['historyAgeMs'], `${what}.historyAgeMs`),
    historySize: parseInteger(fields['historySize'], `${what}.historySize`),
    ...optional('quota', fields, what, parseInteger),
    ...optional('keepJobs', fields, what, parseInteger),
    ...optional('keepJobsAgeMs', fields, what, parseInteger),
    ...optional('keepJobsSize', fields, what, parseInteger),
  }
}

function parseListEntry(input: unknown): ListEntry {
  const fields = parseFields(input, 'entry')
  return {
    name: parseText(fields['name'], 'name'),
    type: parseOneOf(fields['type'], types, 'type'),
    count: parseInteger(fields['count'], 'count'),
    size: parseInteger(fields['size'], 'size'),
  }
}

function parseAttrs(input: unknown, what: string): Attrs {
  const fields: Fields = parseFields(input, what)
  return {
    ...optional('contentType', fields, what, parseText),
    ...(fields['sealed'] === true ? { sealed: true } : {}),
  }
}

function parseFlags(input: unknown, what: string): boolean[] {
  return parseArray(input, what).map((item) => parseFlag(item, what))
}

function parseIntegers(input: unknown, what: string): number[] {
  return parseArray(input, what).map((item) => parseInteger(item, what))
}

function parseException(input: unknown, what: string): { type: string; message: string } {
  const fields = parseFields(input, what)
  return { type: parseText(fields['type'], what), message: parseText(fields['message'], what) }
}
