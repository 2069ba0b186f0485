/** How a run's emitters are doing: the newest of the `log` events that each one's recorder wrote about it. */

import type { FedEvent, Num } from './types'

const COMPONENT = 'emitter '

export type EmitterStateName = 'working' | 'failing' | 'delivered' | 'pending'

export interface EmitterRow {
  /** Unique in the list. */
  key: string
  name: string
  /** Which store it delivers to; "" where nobody said. */
  destination: string
  state: EmitterStateName | null
  message: string
  pendingBytes: Num
  deliveredBytes: Num
  /** Values that the destination refused for good. */
  numFailed: Num
  lastError: string | null
  ts: Num
  journal: string
}

const STATES: readonly string[] = ['working', 'failing', 'delivered', 'pending'] satisfies EmitterStateName[]
const RANK: Record<string, number> = { failing: 0, pending: 1 }

export function isOfEmitter(event: FedEvent): boolean {
  return event.kind === 'log' && textOf(event.data?.['component'])?.startsWith(COMPONENT) === true
}

/** One row an emitter, those in trouble first. Events may come in any order and more than once. */
export function emittersOf(events: readonly FedEvent[]): EmitterRow[] {
  const newest = new Map<string, { row: EmitterRow; offset: number }>()
  for (const event of events) {
    if (!isOfEmitter(event)) continue
    const row = rowOf(event)
    const known = newest.get(row.key)
    // Within a journal the offset is the order.
    if (known === undefined || event.offset > known.offset) newest.set(row.key, { row, offset: event.offset })
  }
  const rank = (row: EmitterRow): number => RANK[row.state ?? ''] ?? 2
  return [...newest.values()].map(({ row }) => row).sort((a, b) => rank(a) - rank(b) || a.key.localeCompare(b.key))
}

function rowOf(event: FedEvent): EmitterRow {
  const data = event.data ?? {}
  const extra = isObject(data['extra']) ? data['extra'] : {}
  const name = (textOf(data['component']) ?? '').slice(COMPONENT.length)
  const destination = textOf(extra['destination']) ?? ''
  const said = event.event ?? textOf(data['event'])
  return {
    key: `${name} ${destination} ${event.journal}`,
    name,
    destination,
    state: said !== null && STATES.includes(said) ? (said as EmitterStateName) : null,
    message: event.message ?? textOf(data['message']) ?? '',
    pendingBytes: numberOf(extra['pending_bytes']),
    deliveredBytes: numberOf(extra['delivered_bytes']),
    numFailed: numberOf(extra['num_failed']),
    lastError: textOf(extra['last_error']),
    ts: event.ts,
    journal: event.journal,
  }
}

const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null)
const numberOf = (value: unknown): Num => (typeof value === 'number' ? value : null)
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
