/** The module of the threads of piscina. */

import { call, type GraphNode, type Value } from '../flow-graphs.js'

type Task = Omit<GraphNode, 'sources'> & { readonly inputs: readonly Value[] }

export function work({ inputs, ...node }: Task): Value {
  return call(node, inputs)
}
