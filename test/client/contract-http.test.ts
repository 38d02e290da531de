/** The contract of `Kvs` over a server, whose small requests come by HTTP. */

import { kvsContract } from '../kvs/contract.js'
import { makeServed } from './serving.js'

kvsContract('over a server, by HTTP', () => makeServed('http'))
