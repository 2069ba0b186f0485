/** Which of what clients report can be drawn as a curve. */

import type { RunView } from './run.svelte'

/** Places are no curves. */
const NO_CURVES = new Set(['city', 'country', 'lat', 'lng'])

/** Names of metrics that clients of the run reported; one with a comma cannot be asked for. */
export function curvesOf(view: RunView): string[] {
  return (view.detail?.metrics.client ?? []).filter((name) => !NO_CURVES.has(name) && !name.includes(','))
}
