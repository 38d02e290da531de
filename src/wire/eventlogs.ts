/** Requests on eventlogs. Events are sent as JSON, one event a line. See rfc/8, rfc/12. */

import type { Event } from '../api/event.js'
import { capping } from './keys.js'
import { request } from './request.js'
import { answered, anyObject, at, count, flag, named, number, optional, text } from './schema.js'
import { committedOp } from './transaction.js'

/** One event, as an answer has it. */
export const event = named(
  'Event',
  answered<Omit<Event, 'context'> & { readonly context?: object }>({
    timestamp: number,
    name: text,
    context: optional(anyObject),
  }),
)

export const readEventlog = request({
  name: 'eventlog.read',
  method: 'GET',
  path: '/v1/eventlog/*',
  summary: 'Read the events of a log, or follow them',
  right: 'read',
  namespaced: true,
  query: {
    at: optional(at),
    minSeq: optional(count),
    follow: optional(flag),
    waitCreate: optional(flag),
    waitEvent: optional(text),
    heartbeat: optional(count),
  },
  headers: ['last-event-id'],
  download: ['lines', 'events'],
  statuses: [204],
  errors: ['ENOENT', 'EISDIR', 'ENONS', 'ECOMPACTED', 'EOVERWRITTEN'],
  waits: 'minSeq',
})

export const appendEventlog = request({
  name: 'eventlog.append',
  method: 'POST',
  path: '/v1/eventlog/*',
  summary: 'Append all events of a body to a log, in one append',
  right: 'write',
  namespaced: true,
  query: { seal: optional(flag), ...capping },
  headers: ['tailrace-guards', 'idempotency-key', 'idempotency-since'],
  upload: 'lines',
  answer: committedOp,
  errors: ['ECONFLICT', 'ESEALED', 'EISDIR', 'ENOTDIR', 'ENONS', 'EPERM', 'E2BIG', 'EDQUOT'],
})
