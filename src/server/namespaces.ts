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
import type { ServerContext } from './context.js'
import type { Routes } from './routes.js'
import { checkWritable } from './scope.js'

export function serveNamespaces(routes: Routes, { store: { namespaces } }: ServerContext): void {
  routes.serve(listNamespaces, async () => ({ namespaces: await namespaces.list() }))
  routes.serve(showNamespace, async ({ name }) => {
    parseNamespaceName(name)
    const found = (await namespaces.list()).find((each) => each.name === name)
    if (!found) throw new TailraceError('ENONS', `there is no namespace ${name}`)
    return found
  })
  routes.serve(createNamespace, ({ name, ...from }) => namespaces.create(checkWritable(name), from))
  routes.serve(removeNamespace, async ({ name }) => {
    await namespaces.remove(name)
    return {}
  })
  routes.serve(configureNamespace, ({ name, ...change }) => namespaces.configure(name, change))
}
