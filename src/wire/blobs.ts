/** Requests that load and store one blob by its ref. See rfc/12 and rfc/18, rule 11. */

import type { Blobref } from '../blob/blobref.js'
import { request } from './request.js'
import { answered, blobref } from './schema.js'

export const loadBlob = request({
  name: 'blobs.load',
  method: 'GET',
  path: '/v1/content/:ref',
  summary: 'Read a blob by its ref',
  right: 'owner',
  download: ['bytes'],
  answerHeaders: ['etag'],
  errors: ['ENOENT'],
})

export const storeBlob = request({
  name: 'blobs.store',
  method: 'POST',
  path: '/v1/content',
  summary: 'Store a blob that nothing names yet, and keep it for an hour',
  right: 'owner',
  upload: 'bytes',
  status: 201,
  answer: answered<{ readonly ref: Blobref }>({ ref: blobref }),
  errors: ['E2BIG'],
})
