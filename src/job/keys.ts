/** The keys of a job in the namespace `jobs`. See rfc/11. */

import { mirrored } from './ids.js'

/** The reserved namespace of jobs. */
export const jobsNamespace = 'jobs'

/** The key of a job's spec. */
export const specKey = (id: string) => `${id}/spec`
/** The key of a job's events. */
export const eventsKey = (id: string) => `${id}/events`
/** The key of a job's output. */
export const outputKey = (id: string) => `${id}/output`

/** The directory of jobs without a finish. After a crash the next open reads it, and nothing
 *  else. */
export const activeDirectory = 'active'
/** The key in `active` of a job, which is there from submit to finish. */
export const activeKey = (id: string) => `${activeDirectory}/${id}`

/** The directory of all jobs by mirrored id, so that a listing is newest first. */
export const indexDirectory = 'index'
/** The key of a finished job's view; empty before the finish. */
export const indexKey = (id: string) => `${indexDirectory}/${mirrored(id)}`
