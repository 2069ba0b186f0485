/** Fewer points than pixels need: thinning that keeps every spike. */

import type { Num } from './types'

/**
 * Indexes to draw of curves `curves`, each `length` long: evenly cut into buckets, of each the places of every
 * curve's minimum and maximum, and the ends. All of them when that is no more than `maxPoints`.
 */
export function thin(length: number, curves: readonly (readonly Num[])[], maxPoints: number): number[] | null {
  if (length <= maxPoints) return null
  const buckets = Math.max(1, Math.floor(maxPoints / (2 * Math.max(1, curves.length))))
  const kept = new Set<number>([0, length - 1])
  for (let b = 0; b < buckets; b++) {
    const from = Math.floor((b * length) / buckets)
    const to = Math.floor(((b + 1) * length) / buckets)
    for (const curve of curves) {
      let low = -1
      let high = -1
      let gap = -1
      for (let i = from; i < to; i++) {
        const value = curve[i]
        if (value == null || !Number.isFinite(value)) {
          gap = i
          continue
        }
        if (low < 0 || value < (curve[low] as number)) low = i
        if (high < 0 || value > (curve[high] as number)) high = i
      }
      if (low >= 0) kept.add(low)
      if (high >= 0) kept.add(high)
      else if (gap >= 0) kept.add(gap)
    }
  }
  return [...kept].sort((a, b) => a - b)
}
