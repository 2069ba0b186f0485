/** The columns of the clients' table. */

import { bytes, integer, megabytes, number, percent, score, seconds } from './format'
import type { Client, Num } from './types'

export interface Column {
  key: keyof Client & string
  label: string
  hint?: string
  /** The direction in which the worst come first: what one sorts a table of clients for. */
  worst: 'asc' | 'desc'
  format?: (value: Num | undefined) => string
  /** Pixels at least. */
  width: number
  /** Shown on the narrowest screens too. */
  always?: boolean
}

/** What a narrow page can do without, the least missed first. Failures stay: one looks here for who is in trouble. */
export const LEAST_MISSED: readonly string[] = ['ram_mb', 'bytes_sent', 'cpu_pct', 'num_samples', 'city', 'gradient_norm', 'train_time_sec', 'last_round', 'staleness', 'num_dropouts', 'status', 'num_failures']

export const COLUMNS: readonly Column[] = [
  { key: 'client_id', label: 'Client', worst: 'asc', width: 170, always: true },
  { key: 'status', label: 'Status', worst: 'desc', width: 96 },
  { key: 'last_round', label: 'Last round', worst: 'asc', format: integer, width: 88 },
  { key: 'staleness', label: 'Staleness', hint: 'Rounds between the model it trained on and the round it reported to', worst: 'desc', format: integer, width: 84 },
  { key: 'local_accuracy', label: 'Accuracy', worst: 'asc', format: score, width: 160, always: true },
  { key: 'local_loss', label: 'Loss', worst: 'desc', format: score, width: 82, always: true },
  { key: 'num_samples', label: 'Samples', worst: 'asc', format: integer, width: 84 },
  { key: 'gradient_norm', label: 'Grad. norm', worst: 'desc', format: number, width: 92 },
  { key: 'train_time_sec', label: 'Train time', worst: 'desc', format: seconds, width: 88 },
  { key: 'bytes_sent', label: 'Sent', worst: 'desc', format: bytes, width: 84 },
  { key: 'cpu_pct', label: 'CPU', worst: 'desc', format: percent, width: 72 },
  { key: 'ram_mb', label: 'RAM', worst: 'desc', format: megabytes, width: 82 },
  { key: 'num_dropouts', label: 'Dropouts', worst: 'desc', format: integer, width: 82 },
  { key: 'num_failures', label: 'Failures', worst: 'desc', format: integer, width: 78 },
  { key: 'city', label: 'Place', worst: 'asc', width: 150 },
]

/** In the order of how much somebody should look at them. */
const STATUS_RANK = ['left', 'active', 'joined', 'idle', 'dropped', 'failed']

export function cellOf(client: Client, key: string): number | string | null {
  if (key === 'status') return client.status === null ? null : STATUS_RANK.indexOf(client.status)
  if (key === 'city') return placeOf(client)
  return (client as unknown as Record<string, number | string | null>)[key] ?? null
}

export function placeOf(client: Client): string | null {
  return [client.city, client.country].filter(Boolean).join(', ') || null
}
