/** The claims of one cache object that are under way. Claims of the same action that wait share one:
 *  it takes and waits at the store, and the others wait for it in the process. See rfc/22, rule 10.
 *  Invariant: a flight lands once: when its claim has ended, or when it got none. What waits for a
 *  flight never fails with it. */

import { type Deferred, deferred } from '../base/deferred.js'
import type { ResultRecord } from './record.js'

/** A result that was published at a seq of the layer. */
export type Published = { readonly record: ResultRecord; readonly seq: number }

/** A claim that is under way in this process. */
export type Flight = {
  /** Resolves when it has landed: to the result that it brought, or to undefined if it brought none. */
  readonly landed: Promise<Published | undefined>
  /** Lands it. The first call counts. */
  readonly land: (published?: Published) => void
}

/** The flights by the ids of their actions. Mutable; owned by the cache object. */
export class Flights {
  readonly #flights = new Map<string, Flight>()

  /** Returns the flight of an action that others may wait for. */
  get(id: string): Flight | undefined {
    return this.#flights.get(id)
  }

  /** Begins a flight. Others find it, unless the action has another one already. */
  begin(id: string): Flight {
    const end: Deferred<Published | undefined> = deferred()
    const flight: Flight = {
      landed: end.promise,
      land: (published) => {
        if (this.#flights.get(id) === flight) this.#flights.delete(id)
        end.resolve(published)
      },
    }
    if (!this.#flights.has(id)) this.#flights.set(id, flight)
    return flight
  }
}
