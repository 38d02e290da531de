/** The eventlog of a key. See rfc/8. The codec of events needs a package. It is loaded with the
 *  first call, so that a program without eventlogs does not load it. */

import type { Eventlog } from '../api/event.js'
import type { Kvs } from '../api/kvs.js'

/** Makes the eventlog of a key. Does no I/O. */
export function openEventlog(kvs: Kvs, key: string, namespace: string): Eventlog {
  return {
    key,
    namespace,
    append: async (events, options) =>
      (await codec()).appendEvents(kvs, key, events, { ...options, namespace }),
    read: async function* (options) {
      yield* (await codec()).readEvents(kvs, key, { ...options, namespace })
    },
    follow: async function* (options) {
      yield* (await codec()).followEvents(kvs, key, { ...options, namespace })
    },
  }
}

function codec() {
  return import('../eventlog/eventlog.js')
}
