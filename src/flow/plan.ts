/** Plans of arguments: how the arguments of a target's function, and the results of a run, are made of
 *  the results of other targets. A plan is made once, and followed for each call. See rfc/24, rule 2.
 *  Pure. */

/** A plan for one value. A slot counts the distinct targets that the whole plan needs, its *sources*. */
export type Plan =
  /** A plain value, the same for all calls. */
  | { readonly type: 'value'; readonly value: unknown }
  /** The result of a source. */
  | { readonly type: 'result'; readonly slot: number }
  /** The packed result of a source. */
  | { readonly type: 'packed'; readonly slot: number }
  /** A file: its path as it was given, and the absolute one. */
  | { readonly type: 'file'; readonly path: string; readonly absolute: string }
  | { readonly type: 'list'; readonly items: readonly Plan[] }
  | { readonly type: 'fields'; readonly fields: readonly (readonly [name: string, plan: Plan])[] }

/** The plans of the results of the first sources: the same for all targets. */
const resultPlans: readonly Plan[] = Array.from({ length: 16 }, (_, slot) => ({
  type: 'result',
  slot,
}))

/** Returns the plan of the result of a source. */
export function resultOf(slot: number): Plan {
  return resultPlans[slot] ?? { type: 'result', slot }
}

/** Returns the value of a plan. `results` and `packed` have what is needed of each source, by its
 *  slot. */
export function follow(
  plan: Plan,
  results: readonly unknown[],
  packed: readonly unknown[] = [],
): unknown {
  switch (plan.type) {
    case 'value':
      return plan.value
    case 'result':
      return results[plan.slot]
    case 'packed':
      return packed[plan.slot]
    case 'file':
      return plan.absolute
    case 'list':
      return plan.items.map((item) => follow(item, results, packed))
    case 'fields':
      // It makes fields of the object's own, whatever their names are.
      return Object.fromEntries(
        plan.fields.map(([name, field]) => [name, follow(field, results, packed)]),
      )
    default:
      return plan satisfies never
  }
}

/** Returns the slots of the sources whose results a plan needs opened. */
export function resultSlotsOf(plan: Plan): readonly number[] {
  switch (plan.type) {
    case 'value':
    case 'packed':
    case 'file':
      return []
    case 'result':
      return [plan.slot]
    case 'list':
      return plan.items.flatMap(resultSlotsOf)
    case 'fields':
      return plan.fields.flatMap(([, field]) => resultSlotsOf(field))
    default:
      return plan satisfies never
  }
}

/** Returns the plan of an array. */
export function listOf(items: readonly Plan[]): Plan {
  const plan: Plan = { type: 'list', items }
  return items.every(isValue) ? { type: 'value', value: follow(plan, []) } : plan
}

/** Returns the plan of an object. */
export function objectOf(fields: readonly (readonly [name: string, plan: Plan])[]): Plan {
  const plan: Plan = { type: 'fields', fields }
  return fields.every(([, field]) => isValue(field))
    ? { type: 'value', value: follow(plan, []) }
    : plan
}

function isValue({ type }: Plan): boolean {
  return type === 'value'
}
