/** The arguments of a request as a frame of the websocket carries them, if the request is small and
 *  means the same there as in JSON. See rfc/12, rule 37. Pure.
 *  Invariant: a frame says what JSON would say. What msgpack would change is left to HTTP: text that
 *  is not well formed, numbers that JSON has not, and objects of classes. */

/** The largest size of a request that goes over the websocket: its text in UTF-16 units, and its
 *  bytes, and `fieldCost` for each of its values. */
export const smallSizeMax = 32 * 1024
/** The size that each value of a request counts besides its own, in bytes. */
const fieldCost = 8

/** The arguments as a frame has them. `size`: what they count of `smallSizeMax`, in bytes. */
export type CallArgs = {
  readonly namespace?: string
  readonly body: object
  readonly size: number
}

/** Returns the arguments for a frame; undefined if the request has to go over HTTP. Bytes are
 *  copied, since the caller may change them before the frame is sent. */
export function callArgsOf(args: object): CallArgs | undefined {
  const { namespace, ...rest } = args as { readonly namespace?: unknown }
  if (namespace !== undefined && (typeof namespace !== 'string' || !namespace.isWellFormed())) {
    return undefined
  }
  const copy = new Copy()
  const body = copy.of(rest)
  if (!copy.fits || body === undefined) return undefined
  const { size } = copy
  return { ...(namespace === undefined ? {} : { namespace }), body: body as object, size }
}

/** Copies plain data, and counts its size. */
class Copy {
  #left = smallSizeMax
  #isPlain = true

  get size(): number {
    return smallSizeMax - this.#left
  }

  /** True if all that was copied is plain, and small. */
  get fits(): boolean {
    return this.#isPlain && this.#left >= 0
  }

  of(value: unknown): unknown {
    this.#left -= fieldCost
    if (!this.fits) return undefined
    switch (typeof value) {
      case 'string':
        this.#left -= value.length
        return value.isWellFormed() ? value : this.#refuse()
      case 'number':
        return Number.isFinite(value) ? value : this.#refuse()
      case 'boolean':
        return value
      case 'object':
        return value === null ? null : this.#ofObject(value)
      default:
        return this.#refuse()
    }
  }

  #ofObject(value: object): unknown {
    if (value instanceof Uint8Array) {
      this.#left -= value.length
      return this.fits ? new Uint8Array(value) : undefined
    }
    if (Array.isArray(value)) return value.map((item) => this.of(item))
    if (Object.getPrototypeOf(value) !== Object.prototype) return this.#refuse()
    const copy: Record<string, unknown> = {}
    for (const [name, field] of Object.entries(value)) {
      if (field !== undefined) copy[name] = this.of(field)
    }
    return copy
  }

  #refuse(): undefined {
    this.#isPlain = false
    return undefined
  }
}
