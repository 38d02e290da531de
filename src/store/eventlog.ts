/** The eventlog of a key. See rfc/8. */

import type { Eventlog } from '../api/event.js'
import type { Kvs } from '../api/kvs.js'
import { appendEvents, followEvents, readEvents } from '../eventlog/eventlog.js'

/** Makes the eventlog of a key. Does no I/O. */
export function openEventlog(kvs: Kvs, key: string, namespace: string): Eventlog {
  return {
    key,
    namespace,
    append: (events, options) => appendEvents(kvs, key, events, { ...options, namespace }),
    read: (options) => readEvents(kvs, key, { ...options, namespace }),
    follow: (options) => followEvents(kvs, key, { ...options, namespace }),
  }
}
