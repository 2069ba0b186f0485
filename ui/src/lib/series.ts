/** Series that grow: curves over the rounds, column by column. */

import type { Series } from './types'

/** `series` with everything from round `from` on replaced by `tail`. */
export function replaceTail(series: Series, tail: Series, from: number): Series {
  let keep = series.round.length
  while (keep > 0 && series.round[keep - 1]! >= from) keep--
  const merged: Series = { round: [] }
  for (const name of new Set([...Object.keys(series), ...Object.keys(tail)])) {
    const head = (series[name] ?? []).slice(0, keep)
    const rest = tail[name] ?? tail.round.map(() => null)
    merged[name] = [...(head.length === keep ? head : Array.from({ length: keep }, () => null)), ...rest]
  }
  return merged
}
