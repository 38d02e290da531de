/** Checks a store: each ref that a newest root, a retained root or a pin leads to is loaded and
 *  verified. See rfc/15, rules 13 and 14.
 *  Invariant: a check only reads. Each damage is reported once, in the newest tree if that has it.
 *  Damage ends the check of what is below it, and of nothing else. Memory: about 30 bytes for each
 *  blob and node. */

import { type CheckProgress, type Finding, findingsMax } from '../api/check.js'
import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import type { Content, NodeSource } from '../content/content.js'
import type { Engine, Head, Root } from '../engine/engine.js'
import { canceled, TailraceError } from '../error.js'
import { LiveNamespace } from '../past/namespace.js'
import { Pins } from '../past/pins.js'
import { Nodes } from '../tree/nodes.js'
import { readRoot, type Trees } from '../tree/root.js'
import { rootKey } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'
import { type Audit, audit, type Damage, Damaged } from '../walk/audit.js'
import { attempt, Clean } from '../walk/inspect.js'
import { findingOf } from './report.js'

/** Options of a check. */
export type CheckOptions = {
  /** Called with each finding, those beyond the list included. */
  readonly onFinding?: ((finding: Finding) => void) | undefined
  /** Called after each blob and node, with the counts so far. */
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined
  /** Ends the check with ECANCELED. */
  readonly signal?: AbortSignal | undefined
  /** The number of findings after which the check ends. Default: it never ends early. */
  readonly findingsMax?: number
}

/** Options of a check within this room. */
type InnerOptions = CheckOptions & {
  /** Blobs and nodes that count as damaged, so that the findings tell which keys need them. */
  readonly refused?: ReadonlySet<Blobref>
}

/** A namespace whose newest root is damaged. */
export type Hurt = {
  readonly head: Head
  /** The trees of the root. Undefined if the root itself cannot be read. */
  readonly trees: Trees | undefined
}

type Place = Pick<Finding, 'where' | 'namespace' | 'seq' | 'pin'>

/** One check of one store. */
export class Check {
  /** The blobs and nodes that were found whole. */
  readonly whole = new Clean()
  readonly #damaged = new Damaged()
  readonly nodes: Nodes
  /** The first `findingsMax` findings. */
  readonly findings: Finding[] = []
  readonly hurt: Hurt[] = []
  /** The number of all findings. */
  found = 0
  readonly #engine: Engine
  readonly #content: Content
  readonly #environment: Environment
  readonly #options: InnerOptions
  readonly #progress = { namespace: '', roots: 0, nodes: 0, blobs: 0, size: 0 }
  /** The findings so far by what they name, at most `findingsMax`, so that older roots do not
   *  repeat them. */
  readonly #told = new Set<string>()
  readonly #roots = new RefSet()

  constructor(
    engine: Engine,
    content: Content,
    environment: Environment,
    options: InnerOptions = {},
  ) {
    this.#engine = engine
    this.#content = content
    this.#environment = environment
    this.#options = options
    const source: NodeSource = { peekNode: () => undefined, loadNode: (ref) => this.#loadNode(ref) }
    this.nodes = new Nodes(source)
  }

  /** The number of roots, nodes, blobs and bytes that were checked. */
  get checked(): Omit<CheckProgress, 'namespace' | 'total'> {
    const { roots, nodes, blobs, size } = this.#progress
    return { roots, nodes, blobs, size }
  }

  /** Checks all namespaces. The newest trees come first, since a finding belongs to the newest tree
   *  that has it. Throws ECLOSED, ECANCELED. */
  async run(): Promise<void> {
    const heads = await this.#engine.roots()
    heads.sort((a, b) => (a.namespace.name < b.namespace.name ? -1 : 1))
    for (const head of heads) if (!this.stopped) await this.#checkHead(head)
    for (const head of heads) if (!this.stopped) await this.#checkHistory(head)
    if (!this.stopped) await this.#checkPins(heads)
  }

  /** True if the check ended at its limit of findings. The rest of the store was not checked. */
  get stopped(): boolean {
    return this.found >= this.#findingsMax
  }

  get #findingsMax(): number {
    return this.#options.findingsMax ?? Number.POSITIVE_INFINITY
  }

  /** Checks a blob and its size. Throws EDANGLING, ECORRUPT, EIO, ECANCELED. */
  async checkBlob(ref: Blobref, size: number): Promise<void> {
    this.#assertTaken(ref)
    const bytes = await this.#content.load(ref)
    this.#progress.blobs++
    this.#count(bytes.length)
    if (bytes.length === size) return
    const message = `${ref} has ${bytes.length} bytes, where ${size} are named`
    throw new TailraceError('ECORRUPT', message)
  }

  /** Checks two trees without reporting findings, so that `whole` knows their blobs and nodes. */
  async lookAt({ data, meta }: Trees): Promise<void> {
    for (const dir of [data, meta]) await audit(this.#walk(), dir, rootKey)
  }

  async #checkHead(head: Head): Promise<void> {
    const namespace = head.namespace.name
    this.#progress.namespace = namespace
    this.#progress.roots++
    const { ref } = head.root
    const before = this.found
    const root = await attempt(() => readRoot(this.nodes, ref))
    if ('error' in root) {
      const { code, message } = root.error
      this.tell({ where: 'root', namespace, key: '/', code, ref, message })
      this.hurt.push({ head, trees: undefined })
      return
    }
    const trees = root.value
    await this.#audit(trees.data, { where: 'data', namespace })
    await this.#audit(trees.meta, { where: 'meta', namespace })
    this.#roots.add(ref)
    if (this.found > before) this.hurt.push({ head, trees })
  }

  async #checkHistory(head: Head): Promise<void> {
    const namespace = head.namespace.name
    this.#progress.namespace = namespace
    const now = () => this.#environment.now()
    const live = new LiveNamespace(this.#engine, this.nodes, now, head)
    const floor = await attempt(() => live.retention.floor())
    // If the floor cannot be read, the check of the newest root has reported that.
    if ('error' in floor) return
    const read = await attempt(async () => {
      for await (const root of this.#engine.history(namespace, floor.value - 1)) {
        if (root.seq >= head.root.seq || this.stopped) break
        await this.#checkRoot(root, { where: 'history', namespace, seq: root.seq })
      }
    })
    if (!('error' in read)) return
    const { code, message } = read.error
    this.tell({ where: 'history', namespace, code, message })
  }

  async #checkPins(heads: readonly Head[]): Promise<void> {
    const system = heads.find(({ namespace }) => namespace.name === 'system')
    if (!system) return
    const data = async () => (await readRoot(this.nodes, system.root.ref)).data
    const pins = await attempt(() => new Pins(this.nodes, data).list())
    if ('error' in pins) {
      const { code, message } = pins.error
      this.tell({ where: 'pin', namespace: 'system', key: 'pins', code, message })
      return
    }
    for (const { name, namespace, seq, ref } of pins.value) {
      if (this.stopped) return
      await this.#checkRoot({ seq, ref }, { where: 'pin', namespace, seq, pin: name })
    }
  }

  async #checkRoot({ ref }: Pick<Root, 'ref' | 'seq'>, place: Place): Promise<void> {
    this.#progress.roots++
    if (!this.#roots.add(ref)) return
    const root = await attempt(() => readRoot(this.nodes, ref))
    if ('error' in root) {
      const { code, message } = root.error
      this.tell({ ...place, key: '/', code, ref, message })
      return
    }
    // The `meta` of older roots is never read, so it is not checked.
    await this.#audit(root.value.data, place)
  }

  async #audit(dir: Dir, place: Place): Promise<void> {
    for (const damage of await audit(this.#walk(), dir, rootKey)) this.#tellDamage(damage, place)
  }

  #walk(): Audit {
    return {
      nodes: this.nodes,
      findings: { clean: this.whole, damages: 0 },
      damaged: this.#damaged,
      findingsMax: this.#findingsMax - this.found,
      checkBlob: (ref, size) => this.checkBlob(ref, size),
    }
  }

  #tellDamage(damage: Damage, place: Place): void {
    const { key, lost } = damage
    const from = 'from' in lost ? lost.from : ''
    const id = [place.namespace, place.where === 'meta', key, lost.ref, from].join('\0')
    const old = place.where === 'history' || place.where === 'pin'
    if (old && this.#told.has(id)) return
    if (this.#told.size < findingsMax) this.#told.add(id)
    this.tell(findingOf(damage, place))
  }

  /** Adds a finding. */
  tell(finding: Finding): void {
    this.found++
    if (this.findings.length < findingsMax) this.findings.push(finding)
    this.#options.onFinding?.(finding)
  }

  async #loadNode(ref: Blobref): Promise<Uint8Array> {
    this.#assertTaken(ref)
    const bytes = await this.#content.loadNode(ref)
    this.#progress.nodes++
    this.#count(bytes.length)
    return bytes
  }

  #assertTaken(ref: Blobref): void {
    if (this.#options.refused?.has(ref)) throw new TailraceError('ECORRUPT', `${ref} is refused`)
  }

  #count(size: number): void {
    const { signal, onProgress } = this.#options
    if (signal?.aborted) throw canceled(signal)
    this.#progress.size += size
    onProgress?.({ ...this.#progress, total: this.#engine.stored })
  }
}
