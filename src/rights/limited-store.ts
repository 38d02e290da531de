/** The whole store as one access token sees it: what programs call, and what a server asks for
 *  besides. See rfc/28, rule 8.
 *  Invariant: every part takes the rights, or checks them itself. */

import type { Kvs } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { LogPlaces } from '../kvs/log-place.js'
import { Places } from '../kvs/places.js'
import type { KeyStore } from '../kvs/store.js'
import { storeOf } from '../store/store.js'
import { parseKey } from '../treeobj/key.js'
import type { WatchService } from '../watch/watch.js'
import type { Grants } from './grants.js'
import { checkKey, checkWatch, limitedJobs, limitedKvs } from './limited.js'
import type { CountedJobs, LimitedStore, ServerParts } from './served-store.js'
import type { TokenBook } from './tokens.js'

/** The store below. */
type LimitedStorePorts = {
  readonly store: KeyStore
  readonly watches: WatchService
  readonly kvs: Pick<Kvs, 'history' | 'namespaces'>
  readonly jobs: CountedJobs
  readonly tokens: TokenBook
  readonly owner: Pick<ServerParts, 'release' | 'collecting' | 'leasesHeld'> & {
    readonly storeId: string
  }
  readonly newId: () => string
}

/** Makes the store that the holder of some grants sees. Closing it is EPERM. */
export function limitedStore(ports: LimitedStorePorts, grants: Grants): LimitedStore {
  const { store, watches, jobs, owner } = ports
  const kvs = limitedKvs(
    {
      keys: store,
      watch: (key, options) => watches.watch(key, options, grants),
      whole: ports.kvs,
      newId: ports.newId,
    },
    grants,
  )
  const close = async () => grants.refuse('close the store', 'it is for the owner')
  const limited = limitedJobs(jobs, grants)
  return {
    ...storeOf({ kvs, jobs: limited, tokens: ports.tokens.within(grants), close }),
    storeId: owner.storeId,
    jobs: {
      ...limited,
      get running() {
        return jobs.running
      },
      get waiting() {
        return jobs.waiting
      },
    },
    places: limitedPlaces(new Places(store, grants), grants),
    readNow: (keys, namespace = primary) => {
      const mayRead = keys.every((key) => grants.has('read', namespace, parseKey(key)))
      return mayRead ? store.readNow(keys, namespace) : undefined
    },
    watchReader: (key, options) => {
      checkWatch(grants, key, options)
      return watches.read(key, options, grants)
    },
    release: owner.release,
    get collecting() {
      return owner.collecting
    },
    get leasesHeld() {
      return owner.leasesHeld
    },
  }
}

function limitedPlaces(places: LogPlaces, grants: Grants): LogPlaces {
  return {
    end: async (key, scope) => {
      checkKey(grants, 'read', key, scope)
      return places.end(key, scope)
    },
    check: async (key, place, from, scope) => {
      checkKey(grants, 'read', key, scope)
      return places.check(key, place, from, scope)
    },
  }
}
