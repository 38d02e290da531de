/** One key as a sequential object: what put, append, unlink and read do to it and answer. Values and
 *  items are unique in a history, so that what was read says who wrote it. See rfc/6.
 *  Invariant: a text names one state: nobody writes the same twice. */

import type { Model } from './linearizable.js'

/** What is there: the bytes, and how many blobs they came in. */
export type Contents = { readonly text: string; readonly count: number } | undefined

/** What a refused guard met: `text` where somebody read a value of that ref. */
export type Met = { readonly absent: boolean; readonly count: number; readonly text?: string }

/** `expects`: a guard, for a text or (null) for nothing there. The answers are absent where the outcome
 *  is not known. */
export type KeyOp =
  | PutOp
  | {
      readonly type: 'append'
      readonly text: string
      readonly answer?: { readonly index: number; readonly count: number }
    }
  | { readonly type: 'unlink' }
  | { readonly type: 'read'; readonly sees: string | undefined }

export type PutOp = {
  readonly type: 'put'
  readonly text: string
  readonly expects?: string | null
  /** The state that refused the guard, false where it held. */
  readonly refused?: Met | false
}

export const keyModel: Model<Contents, KeyOp> = {
  initial: undefined,
  nameOf: (state) => (state ? `${state.count}:${state.text}` : 'nothing'),
  step: (state, op) => {
    switch (op.type) {
      case 'put':
        return stepPut(state, op)
      case 'append': {
        const { text = '', count = 0 } = state ?? {}
        const after = { text: text + op.text, count: count + 1 }
        const { answer } = op
        if (answer && (answer.index !== count || answer.count !== after.count)) return undefined
        return { state: after }
      }
      case 'unlink':
        return { state: undefined }
      case 'read':
        return state?.text === op.sees ? { state } : undefined
      default:
        return op satisfies never
    }
  },
}

function stepPut(
  state: Contents,
  { text, expects, refused }: PutOp,
): { readonly state: Contents } | undefined {
  const holds = expects === undefined || (expects ?? undefined) === state?.text
  const after = { state: { text, count: 1 } }
  if (refused === undefined) return holds ? after : { state } // unknown: what a guard lets it do
  if (refused === false) return holds ? after : undefined
  if (holds || refused.absent !== (state === undefined)) return undefined
  if (refused.count !== (state?.count ?? 0)) return undefined
  return refused.text === undefined || refused.text === state?.text ? { state } : undefined
}
