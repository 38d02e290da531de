/** Blobs of a store behind a server, by their own names. See rfc/6, rule 34. */

import type { Blobs } from '../api/blobs.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Blobref, parseBlobref } from '../blob/blobref.js'
import { parseFields } from '../wire/parse.js'
import type { Http } from './http.js'
import { componentOf, pathOf } from './path.js'
import { missing } from './scope.js'

type Signal = { readonly signal?: AbortSignal }

export class RemoteBlobs implements Blobs {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async load(ref: string, { signal }: Signal = {}): Promise<Uint8Array | undefined> {
    const path = pathOf(`content/${componentOf(parseBlobref(ref))}`)
    const asking = { signal, shape: 'bytes' as const }
    return missing(this.#http.read(path, asking, (response) => response.bytes(blobSizeMax)))
  }

  async store(bytes: Uint8Array, { signal }: Signal = {}): Promise<Blobref> {
    const headers = { 'content-type': 'application/octet-stream' }
    return this.#http.write(
      { method: 'POST', path: pathOf('content'), headers, body: bytes, signal },
      (input) => parseBlobref(parseFields(input, 'answer')['ref']),
    )
  }
}
