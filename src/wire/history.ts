/** Roots, differences, pasts of keys, pins and settings, as both ends read them. See rfc/10, rfc/12. */

import type {
  DiffEntry,
  DiffPage,
  LogEntry,
  LogPage,
  Pin,
  RootEntry,
  RootPage,
  Side,
} from '../api/history.js'
import type { SettingsChange } from '../api/namespace.js'
import { parseBlobref } from '../blob/blobref.js'
import { parseOneOf, parseTotals } from './answers.js'
import { parseAt } from './op.js'
import {
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
const changes = ['added', 'removed', 'changed'] as const
const pinFields = new Set(['namespace', 'at'])
const settingNames = ['historyCount', 'historyAgeMs', 'historySize'] as const
/** Settings that `null` removes. */
const optionalSettings = ['quota', 'keepJobs', 'keepJobsAgeMs', 'keepJobsSize'] as const
const settingFields = new Set<string>([...settingNames, ...optionalSettings])

/** What a pin is asked to hold. Throws EINVAL. */
export function parsePinBody(input: unknown): {
  readonly namespace?: string
  readonly at?: number | string
} {
  if (input === undefined) return {}
  const fields = parseFields(input, 'pin', pinFields)
  return {
    ...optional('namespace', fields, 'pin', parseText),
    ...optional('at', fields, 'pin', parseAt),
  }
}

/** Throws EINVAL. */
export function parseSettingsChange(input: unknown): SettingsChange {
  const fields = parseFields(input, 'settings', settingFields)
  const change: { -readonly [name in keyof SettingsChange]: SettingsChange[name] } = {}
  for (const name of settingNames) {
    Object.assign(change, optional(name, fields, 'settings', parseInteger))
  }
  for (const name of optionalSettings) {
    if (fields[name] === null) change[name] = null
    else Object.assign(change, optional(name, fields, 'settings', parseInteger))
  }
  return change
}

export function parseRootPage(input: unknown): RootPage {
  const fields = parseFields(input, 'roots')
  return {
    roots: parseArray(fields['roots'], 'roots').map(parseRootEntry),
    more: parseFlag(fields['more'], 'more'),
  }
}

export function parseDiffPage(input: unknown): DiffPage {
  const fields = parseFields(input, 'diff')
  return {
    entries: parseArray(fields['entries'], 'entries').map(parseDiffEntry),
    more: parseFlag(fields['more'], 'more'),
    from: parseInteger(fields['from'], 'from'),
    to: parseInteger(fields['to'], 'to'),
  }
}

export function parseLogPage(input: unknown): LogPage {
  const fields = parseFields(input, 'log')
  return {
    entries: parseArray(fields['entries'], 'entries').map(parseLogEntry),
    ...optional('next', fields, 'log', parseInteger),
    oldest: parseInteger(fields['oldest'], 'oldest'),
  }
}

export function parsePin(input: unknown): Pin {
  const fields = parseFields(input, 'pin')
  return {
    name: parseText(fields['name'], 'name'),
    namespace: parseText(fields['namespace'], 'namespace'),
    incarnation: parseText(fields['incarnation'], 'incarnation'),
    seq: parseInteger(fields['seq'], 'seq'),
    ref: parseBlobref(fields['ref']),
    time: parseNumber(fields['time'], 'time'),
    pinned: parseNumber(fields['pinned'], 'pinned'),
  }
}

export function parsePins(input: unknown): Pin[] {
  const fields = parseFields(input, 'answer')
  return parseArray(fields['pins'], 'pins').map(parsePin)
}

function parseRootEntry(input: unknown): RootEntry {
  const fields = parseFields(input, 'root')
  return {
    seq: parseInteger(fields['seq'], 'seq'),
    ref: parseBlobref(fields['ref']),
    time: parseNumber(fields['time'], 'time'),
    ...optional('pins', fields, 'root', parseTexts),
    ...optional('keys', fields, 'root', parseTexts),
  }
}

function parseDiffEntry(input: unknown): DiffEntry {
  const fields = parseFields(input, 'entry')
  return {
    key: parseText(fields['key'], 'key'),
    change: parseOneOf(fields['change'], changes, 'change'),
    ...optional('before', fields, 'entry', parseSide),
    ...optional('after', fields, 'entry', parseSide),
  }
}

function parseLogEntry(input: unknown): LogEntry {
  const fields = parseFields(input, 'entry')
  return {
    seq: parseInteger(fields['seq'], 'seq'),
    time: parseNumber(fields['time'], 'time'),
    ...optional('value', fields, 'entry', parseSide),
  }
}

function parseSide(input: unknown, what: string): Side {
  const fields = parseFields(input, what)
  return {
    type: parseOneOf(fields['type'], types, 'type'),
    ref: parseBlobref(fields['ref']),
    count: parseInteger(fields['count'], 'count'),
    size: parseInteger(fields['size'], 'size'),
    ...optional('base', fields, what, parseTotals),
  }
}
