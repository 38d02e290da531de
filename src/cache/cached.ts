/** Runs a function whose result is cached under an action. See rfc/22, rule 16.
 *  Invariant: of all who call at the same time, one runs the function. Who loses the claim while it
 *  runs publishes nothing, and returns the result of the new holder. */

import { type CachedOptions, type Claim, type Hit, onlyOutput } from '../api/cache.js'
import type { Token } from '../api/transaction.js'
import { joinAbort } from '../base/abort.js'
import { type Code, isCode, type TailraceError } from '../error.js'
import type { PackedAction } from './action.js'
import { type ClaimPorts, type ClaimWay, claim } from './claim.js'
import { pack, unpack } from './packing.js'
import { damage } from './record.js'
import { remove } from './remove.js'

/** The number of times that a call claims: results may go, and claims may be lost, meanwhile. */
const claimsMax = 10

/** Codes of reads of a result whose bytes are damaged or gone. */
const unreadable: readonly Code[] = ['ENOENT', ...damage]
/** Codes of a claim that was lost while its work ran. */
const lost: readonly Code[] = ['EFENCED', 'EUNKNOWN']

/** Returns the result of an action: the one that is there, the one that somebody computes now, or
 *  that of `fn`. */
export async function cached<T>(
  ports: ClaimPorts,
  action: PackedAction,
  fn: (signal: AbortSignal) => T | Promise<T>,
  options: CachedOptions,
): Promise<T> {
  const but: Token[] = []
  const way: ClaimWay = { ...options, but }
  for (let claims = 1; ; claims++) {
    const got = await claim(ports, action, way)
    if (got.type === 'busy') throw new Error('a claim that does not skip is never busy')
    const isLast = claims === claimsMax
    if (got.type === 'claimed') {
      const outcome = await computed(got, fn)
      if ('value' in outcome) return outcome.value
      if (isLast) throw outcome.lost
    } else {
      try {
        return await readValue<T>(got)
      } catch (error) {
        if (isLast) throw error
        await passOver(ports, action, got, { error, but })
      }
    }
  }
}

/** Runs `fn` under a claim and publishes its result. `lost`: the claim was lost meanwhile. */
async function computed<T>(
  claimed: Claim,
  fn: (signal: AbortSignal) => T | Promise<T>,
): Promise<{ readonly value: T } | { readonly lost: unknown }> {
  await using claim = claimed
  const { signal } = claim
  let value: T
  try {
    value = await joinAbort((async () => fn(signal))(), signal)
  } catch (error) {
    if (signal.aborted) return { lost: signal.reason }
    throw error
  }
  // Nothing is no value, and has no bytes.
  const bytes = value === undefined ? new Uint8Array() : pack(value, 'the result')
  try {
    await claim.publish(bytes)
  } catch (error) {
    if (isOneOf(error, lost)) return { lost: error }
    throw error
  }
  return { value: decoded<T>(bytes) }
}

async function readValue<T>(hit: Hit): Promise<T> {
  return decoded<T>(await hit.get(onlyOutput))
}

function decoded<T>(bytes: Uint8Array): T {
  return (bytes.length === 0 ? undefined : unpack(bytes, 'the result')) as T
}

/** Makes the next claim pass over a result that could not be read. Throws `error` if that is no
 *  reason to compute it anew. */
async function passOver(
  ports: ClaimPorts,
  action: PackedAction,
  { result }: Hit,
  { error, but }: { readonly error: unknown; readonly but: Token[] },
): Promise<void> {
  if (isCode(error, 'ECOMPACTED')) return // it was removed
  if (!isOneOf(error, unreadable)) throw error
  if (result.layer === ports.layers[0]) await remove(ports, action, { only: result.token })
  else but.push(result.token)
}

function isOneOf(error: unknown, codes: readonly Code[]): error is TailraceError {
  return codes.some((code) => isCode(error, code))
}
