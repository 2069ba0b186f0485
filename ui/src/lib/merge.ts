/** Merging the stream's rows into what a page has: replace by key, keep the order. */

/**
 * `rows` with every one of `news` put in: in place of the row with the same key, or where it belongs.
 * Both `rows` and the answer are ascending by `compare`. Returns `rows` itself when there is no news.
 */
export function mergeSorted<T>(rows: readonly T[], news: readonly T[], compare: (a: T, b: T) => number): T[] {
  if (news.length === 0) return rows as T[]
  const merged = rows.slice()
  for (const row of news) {
    const place = lowerBound(merged, row, compare)
    const same = place < merged.length && compare(merged[place]!, row) === 0
    merged.splice(place, same ? 1 : 0, row)
  }
  return merged
}

/** Index of the first row that is not below `row`. New rows mostly belong at the end: look there first. */
function lowerBound<T>(rows: readonly T[], row: T, compare: (a: T, b: T) => number): number {
  let high = rows.length
  if (high === 0 || compare(rows[high - 1]!, row) < 0) return high
  let low = 0
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compare(rows[middle]!, row) < 0) low = middle + 1
    else high = middle
  }
  return low
}

export const byRound = (a: { round: number }, b: { round: number }): number => a.round - b.round

export const byClientId = (a: { client_id: string }, b: { client_id: string }): number =>
  a.client_id < b.client_id ? -1 : a.client_id > b.client_id ? 1 : 0

export const byRunId = (a: { run_id: string }, b: { run_id: string }): number =>
  a.run_id < b.run_id ? -1 : a.run_id > b.run_id ? 1 : 0

interface EventKey {
  ts: number | null
  journal: string
  offset: number
}

/** Newest first; journal and offset, an event's identity, decide between equal times. */
export const byNewest = (a: EventKey, b: EventKey): number =>
  (b.ts ?? 0) - (a.ts ?? 0) || (a.journal < b.journal ? -1 : a.journal > b.journal ? 1 : b.offset - a.offset)

/** A client's sparkline after news of it: the stream's rows do not carry one, so the value is put on its end. */
export function extendSparkline(
  before: { last_round: number | null; sparkline?: (number | null)[] | null } | undefined,
  now: { last_round: number | null; local_accuracy: number | null },
  length = 30,
): (number | null)[] {
  const values = before?.sparkline ?? []
  if (now.last_round === null) return values.slice()
  const missed = before?.last_round == null ? 1 : now.last_round - before.last_round
  if (missed <= 0) return values.length ? [...values.slice(0, -1), now.local_accuracy] : [now.local_accuracy]
  const gap = Array.from({ length: Math.min(missed - 1, length) }, () => null)
  return [...values, ...gap, now.local_accuracy].slice(-length)
}
