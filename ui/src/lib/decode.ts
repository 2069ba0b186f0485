/** From the API's columnar tables to rows and series: the one place where "NaN" becomes a number again. */

import type { Num, Rows, Series, WireTable } from './types'

const SPELLED: Record<string, number> = { NaN: NaN, Infinity: Infinity, '-Infinity': -Infinity }

/** Columns whose strings are text, whatever they look like: a client may be called "NaN". */
const TEXT = new Set([
  'run_id', 'project', 'algorithm', 'framework', 'state', 'error', 'client_id', 'status', 'city', 'country',
  'kind', 'event', 'message', 'journal', 'reason', 'role', 'node', 'component', 'level', 'type', 'source', 'id',
  'policy_id', 'action', 'result',
])
const NUMBER_MAPS = new Set(['metrics'])
const NUMBER_LISTS = new Set(['sparkline'])
const FREE_FORM = new Set(['data', 'extra', 'config', 'tags', 'server', 'measured'])

/** A number of the wire. Anything that is neither a number nor a spelled-out one is missing. */
export function decodeNumber(value: unknown): Num {
  if (typeof value === 'number') return value
  if (typeof value === 'string') return SPELLED[value] ?? null
  return null
}

function decodeMap(value: unknown): Record<string, Num> | null {
  if (value === null || typeof value !== 'object') return null
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, decodeNumber(v)]))
}

function decodeCell(column: string, value: unknown): unknown {
  if (value === null || value === undefined) return null
  if (typeof value === 'number' || typeof value === 'boolean') return value
  if (TEXT.has(column)) return typeof value === 'string' ? value : JSON.stringify(value)
  if (NUMBER_MAPS.has(column)) return decodeMap(value)
  if (NUMBER_LISTS.has(column)) return Array.isArray(value) ? value.map(decodeNumber) : null
  if (FREE_FORM.has(column)) return value
  return decodeNumber(value)
}

/** One object a row. */
export function decodeRows<T>(table: WireTable): T[] {
  const names = Object.keys(table.columns)
  const length = names.length === 0 ? 0 : (table.columns[names[0]!]?.length ?? 0)
  const rows: Record<string, unknown>[] = Array.from({ length }, () => ({}))
  for (const name of names) {
    const column = table.columns[name]!
    for (let i = 0; i < length; i++) rows[i]![name] = decodeCell(name, column[i])
  }
  return rows as T[]
}

export function decodeTable<T>(table: WireTable): Rows<T> {
  return { asOf: table.as_of ?? '', next: table.next ?? null, rows: decodeRows<T>(table) }
}

/** Columns of numbers, as charts take them. */
export function decodeSeries(table: WireTable): Series {
  const series: Series = { round: [] }
  for (const [name, column] of Object.entries(table.columns)) series[name] = column.map(decodeNumber)
  return series
}

/** One row that is an object already (a run's or a client's own page). */
export function decodeRow<T>(row: Record<string, unknown>): T {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, decodeCell(name, value)])) as T
}
