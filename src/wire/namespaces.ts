/** Requests on namespaces and their settings. See rfc/6, rfc/10, rfc/12. */

import type { NamespaceView, Settings, SettingsChange } from '../api/namespace.js'
import { request } from './request.js'
import {
  answered,
  arrayOf,
  asked,
  at,
  blobref,
  count,
  named,
  nullable,
  number,
  optional,
  text,
} from './schema.js'

/** The settings of a namespace, as an answer has them. */
export const settings = named(
  'Settings',
  answered<Settings>({
    historyCount: count,
    historyAgeMs: number,
    historySize: count,
    quota: optional(count),
    keepJobs: optional(count),
    keepJobsAgeMs: optional(count),
    keepJobsSize: optional(count),
  }),
)
const settingsChange = named(
  'SettingsChange',
  asked<SettingsChange>({
    historyCount: optional(count),
    historyAgeMs: optional(count),
    historySize: optional(count),
    quota: optional(nullable(count)),
    keepJobs: optional(nullable(count)),
    keepJobsAgeMs: optional(nullable(count)),
    keepJobsSize: optional(nullable(count)),
  }),
)
const namespace = named(
  'NamespaceView',
  answered<NamespaceView>({
    name: text,
    incarnation: text,
    owner: text,
    created: number,
    seq: count,
    ref: blobref,
    keys: count,
    size: count,
    historySize: count,
    settings,
  }),
)

export const listNamespaces = request({
  name: 'namespaces.list',
  method: 'GET',
  path: '/v1/ns',
  summary: 'List the namespaces',
  right: 'read',
  answer: answered<{ readonly namespaces: NamespaceView[] }>({ namespaces: arrayOf(namespace) }),
  errors: [],
})

export const showNamespace = request({
  name: 'namespaces.show',
  method: 'GET',
  path: '/v1/ns/:name',
  summary: 'Show a namespace',
  right: 'read',
  answer: namespace,
  errors: ['ENONS', 'EINVAL'],
})

export const createNamespace = request({
  name: 'namespaces.create',
  method: 'POST',
  path: '/v1/ns',
  summary: 'Make a namespace, empty or with the tree of another one',
  right: 'admin',
  status: 201,
  body: asked<{
    readonly name: string
    readonly from?: { readonly namespace?: string; readonly at?: number | string }
  }>({
    name: text,
    from: optional(
      asked<{ readonly namespace?: string; readonly at?: number | string }>({
        namespace: optional(text),
        at: optional(at),
      }),
    ),
  }),
  answer: namespace,
  errors: ['EEXIST', 'EINVAL', 'EPERM', 'ENONS', 'ECOMPACTED'],
})

export const removeNamespace = request({
  name: 'namespaces.remove',
  method: 'DELETE',
  path: '/v1/ns/:name',
  summary: 'Remove a namespace with all its history',
  right: 'admin',
  errors: ['ENONS', 'EPERM'],
})

export const configureNamespace = request({
  name: 'namespaces.configure',
  method: 'PATCH',
  path: '/v1/ns/:name',
  summary: 'Change the settings of a namespace; null removes one',
  right: 'admin',
  body: settingsChange,
  answer: settings,
  errors: ['EINVAL', 'ENONS'],
})
