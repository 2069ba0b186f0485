/** Curves of `log_metric` points: brought onto one x axis, whoever logged them and however often. */

import { ELAPSED, STEPS, type Axis } from './axis'
import type { Num, StepCurve } from './types'

/** Points of a curve that are asked for: more than a chart has pixels for. */
export const STEP_POINTS = 1500
/** How often the curves of a live run are asked for, at most. */
export const STEPS_MS = 2000

export interface Plane {
  axis: Axis
  x: number[]
  /** For each curve its values at `x`. */
  values: Num[][]
}

/**
 * One x axis for the curves: their steps, or the seconds since the first point where a point has none.
 * Of points at the same place the last one counts.
 */
export function overSteps(curves: readonly StepCurve[]): Plane {
  const stepless = curves.some((curve) => curve.step.includes(null))
  const began = stepless ? curves.reduce((least, curve) => curve.ts.reduce<number>((t, ts) => Math.min(t, ts ?? t), least), Infinity) : 0
  const placed = curves.map((curve) => {
    const points = new Map<number, Num>()
    curve.value.forEach((value, i) => {
      const at = stepless ? curve.ts[i] : curve.step[i]
      if (at != null) points.set(at - began, value)
    })
    return points
  })
  const x = [...new Set(placed.flatMap((points) => [...points.keys()]))].sort((a, b) => a - b)
  return { axis: stepless ? ELAPSED : STEPS, x, values: placed.map((points) => x.map((at) => points.get(at) ?? null)) }
}

/** Value of a curve at `at`, or the last one before: its neighbours on the axis are other curves' points. */
export function lastKnown(values: readonly Num[], at: number): Num {
  for (let i = Math.min(at, values.length - 1); i >= 0; i--) if (values[i] != null) return values[i]!
  return null
}
