/** The application's own numbers: which there are. */

import type { RunDetail, Round } from './types'

/** Charts of the application's own metrics that are shown unasked. */
export const METRICS_AT_ONCE = 12

/** Names of what `log_round` was given beside the known fields, in the order in which they first came. */
export function customMetrics(rounds: readonly Round[]): string[] {
  const names = new Set<string>()
  for (const { metrics } of rounds) if (metrics !== null) for (const name in metrics) names.add(name)
  return [...names]
}

/** Keys of `log_metric` curves and who has them, null for the server. One with a comma cannot be asked for. */
export function stepKeys(detail: RunDetail | null): Map<string, (string | null)[]> {
  const holders = new Map<string, (string | null)[]>()
  for (const { key, client_id } of detail?.metrics.step ?? []) {
    if (!key.includes(',')) holders.set(key, [...(holders.get(key) ?? []), client_id])
  }
  return holders
}
