/** The requests that a frame of the websocket can carry: they are small, and mean the same there as
 *  in JSON. See rfc/12, rule 37. Pure.
 *  Invariant: a frame says what JSON would say. What msgpack would change is left to HTTP: text that
 *  is not well formed, numbers that JSON has not, and objects of classes. */

/** The largest size of a request that goes over the websocket: its text and its names in UTF-16
 *  units, and its bytes, and `fieldCost` for each of its values. A value of one blob fits. */
export const smallSizeMax = 288 * 1024
/** The size that each value of a request counts besides its own, in bytes. It also bounds the values
 *  and the names of a frame, far below the bounds of the server (rfc/12, rule 5). */
const fieldCost = 8
/** The largest number of values within one another. What is deeper, or goes in a circle, is left to
 *  HTTP. */
const depthMax = 64
/** The rest of a size that does not suffice. */
const none = -1

/** Returns what the arguments of a request count of `smallSizeMax`, in bytes. Returns undefined if
 *  the request has to go over HTTP. */
export function smallSizeOf(args: object): number | undefined {
  const left = leftBehind(args, smallSizeMax)
  return left < 0 ? undefined : smallSizeMax - left
}

/** Returns what is left of a size behind a value; a negative number if the size does not suffice, or
 *  the value is not plain. */
function leftBehind(value: unknown, size: number, depth = 0): number {
  const left = size - fieldCost
  switch (typeof value) {
    case 'string':
      return value.isWellFormed() ? left - value.length : none
    case 'number':
      return Number.isFinite(value) ? left : none
    case 'boolean':
      return left
    case 'object':
      return value === null ? left : leftBehindObject(value, left, depth + 1)
    default:
      return none
  }
}

function leftBehindObject(value: object, size: number, depth: number): number {
  if (depth > depthMax) return none
  if (value instanceof Uint8Array) return size - value.length
  let left = size
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length && left >= 0; index++) {
      left = leftBehind(value[index], left, depth)
    }
    return left
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return none
  const fields = value as Readonly<Record<string, unknown>>
  for (const name in fields) {
    const field = fields[name]
    if (field === undefined) continue
    if (left < 0 || !name.isWellFormed()) return none
    left = leftBehind(field, left - name.length, depth)
  }
  return left
}

/** Returns a copy of the arguments of a small request, with its bytes. */
export function copyOf<T>(value: T): T {
  return copyOfAny(value) as T
}

function copyOfAny(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value)
  if (Array.isArray(value)) return value.map(copyOfAny)
  if (typeof value !== 'object' || value === null) return value
  // `fromEntries` makes own fields, whatever their names are.
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, copyOfAny(field)]))
}
