/** `GET /v1/kv/KEY?follow`: a key's raw bytes, as they are appended. See rfc/12, rule 9. */

import type { Watching } from '../kvs/watching.js'
import type { Reply } from './app.js'
import type { Context } from './context.js'
import { sendStream, signalOf } from './stream.js'

export type FollowOptions = {
  readonly key: string
  readonly namespace: string
  readonly minSeq?: number
  readonly waitCreate?: boolean
  /** Of the first blob; or the byte to begin with. Not both. */
  readonly index?: number
  readonly from?: number
}

/** Streams until the key is sealed. Throws as a watch, until the first byte is on its way. */
export async function follow(
  context: Context,
  reply: Reply,
  options: FollowOptions,
): Promise<void> {
  const { key, namespace, minSeq, index, from, waitCreate = false } = options
  const { store, activity, log, pace } = context
  const signal = signalOf(activity, reply)
  if (minSeq !== undefined) await store.root({ namespace, waitSeq: minSeq, signal })
  const start = from === undefined ? index : { offset: from }
  const watching = store.watch(key, {
    mode: 'append',
    namespace,
    ...(start === undefined ? {} : { from: start }),
    waitCreate,
    signal,
  })
  const counted = activity.beginWatch()
  try {
    const headers = async () => {
      const stat = await store.stat(key, { namespace })
      return { 'content-type': stat?.attrs?.contentType ?? 'application/octet-stream' }
    }
    const pieces = bytesOf(watching, from ?? 0)
    await sendStream(reply, { headers, pieces, signal, log, pace })
  } finally {
    counted.end()
  }
}

/** An empty piece says that the stream has begun. */
async function* bytesOf(watching: Watching, from: number): AsyncGenerator<Uint8Array> {
  for await (const event of watching) {
    if (event.type !== 'append') yield new Uint8Array(0)
    else yield event.data.subarray(Math.max(0, from - event.offset))
  }
}
