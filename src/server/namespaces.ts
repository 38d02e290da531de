/** The requests of namespaces and their settings. See rfc/6, rfc/10, rfc/12. */

import { TailraceError } from '../error.js'
import { parseNamespaceName } from '../treeobj/key.js'
import {
  configureNamespace,
  createNamespace,
  listNamespaces,
  removeNamespace,
  showNamespace,
} from '../wire/namespaces.js'
import type { Routes } from './routes.js'
import { checkWritable } from './scope.js'

export function serveNamespaces(routes: Routes): void {
  routes.serve(listNamespaces, async (_args, { context: { store } }) => ({
    namespaces: await store.namespaces.list(),
  }))
  routes.serve(showNamespace, async ({ name }, { context: { store } }) => {
    parseNamespaceName(name)
    const found = (await store.namespaces.list()).find((each) => each.name === name)
    if (!found) throw new TailraceError('ENONS', `there is no namespace ${name}`)
    return found
  })
  routes.serve(createNamespace, ({ name, ...from }, { context: { store } }) =>
    store.namespaces.create(checkWritable(name), from),
  )
  routes.serve(removeNamespace, async ({ name }, { context: { store } }) => {
    await store.namespaces.remove(name)
    return {}
  })
  routes.serve(configureNamespace, ({ name, ...change }, { context: { store } }) =>
    store.namespaces.configure(name, change),
  )
}
