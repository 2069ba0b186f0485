/** Whether a run's training stands still, waiting for clients: what the bridge to its framework said last. */

import type { FedEvent, Num } from './types'

export interface Waiting {
  /** For whom, in words. */
  message: string
  /** When something happened last. */
  since: Num
}

/** Null: it does not wait, as far as anybody said. Events may come in any order. */
export function waitingOf(events: readonly FedEvent[]): Waiting | null {
  const last = events.filter(tells).reduce<FedEvent | null>((newest, event) => (newest === null || isNewer(event, newest) ? event : newest), null)
  if (last?.event !== 'waiting') return null
  const extra = last.data?.['extra']
  const seconds = typeof extra === 'object' && extra !== null ? (extra as Record<string, unknown>)['waiting_sec'] : null
  return { message: last.message ?? '', since: typeof seconds === 'number' && last.ts !== null ? last.ts - seconds : last.ts }
}

/** Within a journal the offset is the order. */
function isNewer(event: FedEvent, than: FedEvent): boolean {
  return event.journal === than.journal ? event.offset > than.offset : (event.ts ?? 0) > (than.ts ?? 0)
}

/** A server's process that begins, perhaps after a stop, does not wait yet. */
function tells(event: FedEvent): boolean {
  return (event.kind === 'log' && (event.event === 'waiting' || event.event === 'going_on')) || (event.kind === 'run_start' && event.client_id === null)
}
