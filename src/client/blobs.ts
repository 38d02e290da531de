/** Loads and stores blobs by their refs, over a server. See rfc/18, rule 11. */

import type { Blobs } from '../api/kvs.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Blobref, parseBlobref } from '../blob/blobref.js'
import { loadBlob, storeBlob } from '../wire/blobs.js'
import { missing, placed } from './call.js'
import type { Http } from './http.js'

type Signal = { readonly signal?: AbortSignal }

export class RemoteBlobs implements Blobs {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async load(ref: string, { signal }: Signal = {}): Promise<Uint8Array | undefined> {
    const { path } = placed(loadBlob, { ref: parseBlobref(ref) })
    const asking = { signal, shape: 'bytes' as const }
    return missing(this.#http.read(path, asking, (response) => response.bytes(blobSizeMax)))
  }

  async store(bytes: Uint8Array, { signal }: Signal = {}): Promise<Blobref> {
    const headers = { 'content-type': 'application/octet-stream' }
    return (await this.#http.upload(storeBlob, {}, { headers, body: bytes, signal })).ref
  }
}
