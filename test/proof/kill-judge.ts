/** What clients of a server that was killed were told, judged as a whole. See kill.ts.
 *  Invariant: nothing is found in what a right store may answer. */

import { blobsOf, type KillRecord } from './kill-record.js'
import { checkLinearizable, type Timed } from './linearizable.js'
import { checkLog, type LogAppend, type LogEvent, type LogStream } from './log.js'
import { type KeyOp, keyModel } from './register.js'

/** When a kill was sent, and when the process was seen to be gone. */
export type Kill = { readonly sent: number; readonly ended: number }

export type Judged = {
  readonly records: readonly KillRecord[]
  readonly kills: readonly Kill[]
  /** What every key held at the end, undefined where nothing. */
  readonly finals: ReadonlyMap<string, string | undefined>
}

export type Findings = {
  readonly problems: string[]
  /** How many of what there were, so that a run that tried nothing is seen. */
  readonly counts: Readonly<Record<string, number>>
}

export function judge({ records, kills, finals }: Judged): Findings {
  const problems = records.flatMap((record) => (record.type === 'fault' ? [record.what] : []))
  const counts: Record<string, number> = { kills: kills.length }
  for (const record of records) {
    const what = 'outcome' in record ? `${record.type} ${record.outcome}` : record.type
    counts[what] = (counts[what] ?? 0) + 1
  }
  problems.push(...checkSeqs(records))
  for (const [key, ofKey] of groupBy(records, (record) => ('key' in record ? record.key : ''))) {
    const ops = ofKey.flatMap((record) => (record.type === 'op' ? [record] : []))
    if (ops.length > 0) problems.push(...checkKey(key, ops, kills, finals.get(key)))
    else if (key !== '') problems.push(...checkKeyLog(key, ofKey, kills, finals.get(key)))
  }
  return { problems, counts }
}

/** A request that was lost with its server is done by the time that one is gone, or never. */
function endOfUnknown(known: number, kills: readonly Kill[]): number {
  const before = kills.filter(({ sent }) => sent <= known).at(-1)
  return before ? Math.max(before.ended, known) : Number.POSITIVE_INFINITY
}

type OpRecord = Extract<KillRecord, { readonly type: 'op' }>

function checkKey(
  key: string,
  records: readonly OpRecord[],
  kills: readonly Kill[],
  final: string | undefined,
): string[] {
  const texts = new Map<string, string>()
  for (const { op, ref } of records) {
    if (op.type === 'read' && op.sees !== undefined && ref !== undefined) texts.set(ref, op.sees)
  }
  const history: Timed<KeyOp>[] = []
  for (const { start, end, outcome, op, met } of records) {
    if (outcome === 'failed') continue
    const unknown = outcome === 'unknown'
    const text = met?.ref === undefined ? undefined : texts.get(met.ref)
    const refused = met && { ...met, ...(text === undefined ? {} : { text }) }
    history.push({
      op: op.type === 'put' && refused ? { ...op, refused } : op,
      start,
      end: unknown ? endOfUnknown(end, kills) : end,
      unknown,
    })
  }
  const last = Math.max(0, ...history.map(({ end }) => (Number.isFinite(end) ? end : 0)))
  const read: KeyOp = { type: 'read', sees: final }
  history.push({ op: read, start: last + 1, end: last + 2, unknown: false })
  const verdict = checkLinearizable(keyModel, history)
  if (verdict.linearizable) return []
  const at = JSON.stringify(verdict.at)
  return [`${key} is not linearizable: ${at} where there could be ${verdict.states.join(' or ')}`]
}

function checkKeyLog(
  key: string,
  records: readonly KillRecord[],
  kills: readonly Kill[],
  text: string | undefined,
): string[] {
  const final = (text ?? '')
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => blobsOf(line.slice(0, line.indexOf('>') + 1)))
  const appends = records.flatMap((record): LogAppend[] => {
    if (record.type !== 'append') return []
    const { item, start, outcome, index } = record
    const end = outcome === 'unknown' ? endOfUnknown(record.end, kills) : record.end
    return blobsOf(item).map((blob, at) => ({
      item: blob,
      start,
      end,
      outcome,
      ...(index === undefined ? {} : { index: index + at }),
    }))
  })
  const reads = records.flatMap((record) => (record.type === 'read' ? [record] : []))
  const streams = [...streamsOf(records)]
  const unended = streams.filter(({ name, events }) => {
    const last = streams.findLast((stream) => stream.name === name)
    return last?.events === events && !events.some((e) => 'marker' in e && e.marker === 'end')
  })
  return [
    ...unended.map(({ name }) => `${name} did not end`),
    ...checkLog({ appends, reads, streams, final }),
  ].map((problem) => `${key}: ${problem}`)
}

/** One for each time that a watcher began. */
function* streamsOf(records: readonly KillRecord[]): Iterable<LogStream> {
  const events = records.flatMap((record) => (record.type === 'event' ? [record] : []))
  for (const [name, ofWatcher] of groupBy(events, ({ watcher }) => watcher)) {
    let stream: { name: string; from: number; start: number; events: LogEvent[] } | undefined
    for (const { index, time, item, marker } of ofWatcher) {
      if (marker === 'start') {
        if (stream) yield stream
        stream = { name, from: index, start: time, events: [] }
      } else if (item !== undefined) stream?.events.push({ index, item, time })
      else if (marker !== undefined) stream?.events.push({ marker, index, time })
    }
    if (stream) yield stream
  }
}

/** Each seq is given once, and what was answered before another was asked has a lower one. */
function checkSeqs(records: readonly KillRecord[]): string[] {
  const writes = records.flatMap((record) =>
    'seq' in record && record.seq !== undefined && record.outcome === 'acknowledged'
      ? [{ seq: record.seq, start: record.start, end: record.end, key: record.key }]
      : [],
  )
  const problems: string[] = []
  const seen = new Map<number, string>()
  for (const { seq, key } of writes) {
    const other = seen.get(seq)
    if (other !== undefined) problems.push(`seq ${seq} was given for ${other} and for ${key}`)
    seen.set(seq, key)
  }
  const ends = [...writes].sort((a, b) => a.end - b.end)
  let highest = 0
  let at = 0
  for (const { seq, start, key } of [...writes].sort((a, b) => a.start - b.start)) {
    for (let ended = ends[at]; ended && ended.end < start; ended = ends[++at]) {
      highest = Math.max(highest, ended.seq)
    }
    if (seq < highest) problems.push(`${key} was given seq ${seq} after ${highest} was answered`)
  }
  return problems
}

function groupBy<T>(list: readonly T[], nameOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of list) {
    const group = groups.get(nameOf(item)) ?? []
    group.push(item)
    groups.set(nameOf(item), group)
  }
  return groups
}
