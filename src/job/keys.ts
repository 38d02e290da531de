/** Where a job's parts live in the namespace `jobs`. See rfc/11. */

import { mirrored } from './ids.js'

export const jobsNamespace = 'jobs'

export const specKey = (id: string) => `${id}/spec`
export const eventsKey = (id: string) => `${id}/events`
export const outputKey = (id: string) => `${id}/output`

/** There from submit to finish: what a start after a crash has to look at. */
export const activeDirectory = 'active'
export const activeKey = (id: string) => `${activeDirectory}/${id}`

/** One name a job, newest first; a finished job's view, empty before. */
export const indexDirectory = 'index'
export const indexKey = (id: string) => `${indexDirectory}/${mirrored(id)}`
