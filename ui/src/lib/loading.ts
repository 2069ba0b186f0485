/** Fetching with patience: a collector that is away is asked again until it is back or nobody wants to know. */

import { ApiError } from './api'
import { backoff, connection } from './connection.svelte'

export type Phase = 'loading' | 'ready' | 'not_found' | 'refused'

/**
 * What `fetch` gives. Null when `wanted` says that nobody is waiting any more, or when a log-in is needed first.
 * Raises the ApiError that trying again does not mend.
 */
export async function patiently<T>(fetch: () => Promise<T>, wanted: () => boolean): Promise<T | null> {
  for (let attempt = 0; wanted(); attempt++) {
    try {
      const answer = await fetch()
      connection.found()
      return wanted() ? answer : null
    } catch (error) {
      const again = connection.note(error)
      if (error instanceof ApiError && error.kind === 'unauthorized') return null
      if (!again) throw error
      await new Promise((resolve) => setTimeout(resolve, backoff(attempt) * 1000))
    }
  }
  return null
}

export function phaseOf(error: unknown): { phase: Phase; message: string } {
  if (!(error instanceof ApiError)) throw error
  return { phase: error.kind === 'not_found' ? 'not_found' : 'refused', message: error.message }
}
