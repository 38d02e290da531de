/** The events of a key, as programs have them. See rfc/8. The codec of events is a package's: it is loaded with the first
 *  call, so that a program that uses none does not wait for it. */

import type { Eventlog } from '../api/event.js'
import type { Kvs } from '../api/kvs.js'

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
