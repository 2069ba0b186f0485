/** Numbers, times and sizes as people read them. Missing is "–", never 0. */

import type { Num } from './types'

export const MISSING = '–'

/** "NaN", "∞", "−∞" for numbers that are none; null for those that are. */
export function nonFinite(value: number): string | null {
  if (Number.isNaN(value)) return 'NaN'
  if (value === Infinity) return '∞'
  if (value === -Infinity) return '−∞'
  return null
}

type Formatter = (value: number) => string

const guarded =
  (format: Formatter) =>
  (value: Num | undefined): string =>
    value === null || value === undefined ? MISSING : (nonFinite(value) ?? format(value).replace('-', '−'))

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

/** About four significant digits, in powers of ten where it is very large or small. */
export const number = guarded((value) => {
  const size = Math.abs(value)
  if (value === 0) return '0'
  if (Number.isInteger(value) && size < 1e7) return grouped.format(value)
  if (size >= 1e7 || size < 1e-4) return value.toExponential(2).replace('e+', 'e')
  if (size >= 1000) return grouped.format(value)
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4)
})

/** Four decimals, so that a column of losses or accuracies lines up; large ones shorter. */
export const score = guarded((value) => {
  const size = Math.abs(value)
  if (size >= 1e6) return value.toExponential(2).replace('e+', 'e')
  if (size >= 1000) return grouped.format(value)
  return value.toFixed(size >= 100 ? 2 : size >= 10 ? 3 : 4)
})

export const integer = guarded((value) => (Number.isInteger(value) ? grouped.format(value) : value.toFixed(1)))

/** "1 run", "2 runs"; "– runs" where the number is missing. */
export const count = (value: Num | undefined, noun: string): string => `${integer(value)} ${noun}${value === 1 ? '' : 's'}`

/** A ratio of 0 to 1 as a percentage. */
export const ratio = guarded((value) => percentText(value * 100))

/** A number that is a percentage already. */
export const percent = guarded(percentText)

function percentText(value: number): string {
  return `${value >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)} %`
}

export const bytes = guarded((value) => scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']))

/** Megabytes in, the fitting unit out. */
export const megabytes = guarded((value) => scaled(value * 1e6, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']))

function scaled(value: number, step: number, units: string[]): string {
  let size = value
  let unit = 0
  while (Math.abs(size) >= step * 0.9995 && unit < units.length - 1) {
    size /= step
    unit += 1
  }
  const digits = unit === 0 ? (Number.isInteger(size) ? 0 : 1) : Math.abs(size) >= 99.95 ? 0 : Math.abs(size) >= 9.995 ? 1 : 2
  return `${size.toFixed(digits)} ${units[unit]}`
}

/** Watts in; a board's rails are told in milliwatts. */
export const watts = guarded((value) => (value === 0 ? '0 W' : scaled(value * 1000, 1000, ['mW', 'W', 'kW', 'MW'])))

export const joules = guarded((value) => (value === 0 ? '0 J' : scaled(value * 1000, 1000, ['mJ', 'J', 'kJ', 'MJ', 'GJ'])))

/** Bits a second, as networks are told. */
export const bitRate = guarded((value) => (value === 0 ? '0 bit/s' : scaled(value, 1000, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s'])))

/** Events a second. */
export const perSecond = guarded((value) => (value === 0 ? '0/s' : `${value >= 9.995 ? grouped.format(value) : value.toFixed(2)}/s`))

/** Bytes a second. */
export const byteRate = guarded((value) => `${scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB'])}/s`)

export const seconds = guarded((value) => {
  const size = Math.abs(value)
  if (size === 0) return '0 s'
  if (size < 1e-3) return `${(value * 1e6).toFixed(0)} µs`
  if (size < 0.9995) return `${(value * 1e3).toFixed(size < 0.01 ? 1 : 0)} ms`
  if (size < 59.95) return `${value.toFixed(size < 9.995 ? 2 : 1)} s`
  return clock(value)
})

export const milliseconds = guarded((value) => (Math.abs(value) >= 1000 ? seconds(value / 1000) : `${value.toFixed(value < 10 ? 1 : 0)} ms`))

/** A span in whole units, the two greatest: "2 d 3 h", "1 h 04 min", "3 min 05 s", "12 s". */
export const duration = guarded((value) => clock(Math.max(0, value)))

function clock(value: number): string {
  const total = Math.round(value)
  const two = (n: number): string => String(n).padStart(2, '0')
  const days = Math.floor(total / 86400)
  const hours = Math.floor((total % 86400) / 3600)
  const minutes = Math.floor((total % 3600) / 60)
  if (days > 0) return `${days} d ${hours} h`
  if (hours > 0) return `${hours} h ${two(minutes)} min`
  if (minutes > 0) return `${minutes} min ${two(total % 60)} s`
  return `${total} s`
}

/** "3 s ago", "in 5 s" where a clock is off, "just now". */
export function ago(ts: Num | undefined, now: number): string {
  if (ts === null || ts === undefined || !Number.isFinite(ts)) return MISSING
  const passed = now - ts
  if (passed < -2) return `in ${age(-passed)}`
  if (passed < 1) return 'just now'
  return `${age(passed)} ago`
}

function age(value: number): string {
  if (value < 60) return `${Math.floor(value)} s`
  if (value < 3600) return `${Math.floor(value / 60)} min`
  if (value < 86400) return `${Math.floor(value / 3600)} h`
  return `${Math.floor(value / 86400)} d`
}

/** "2026-11-23 16:40:05 UTC". */
export function utc(ts: Num | undefined): string {
  if (ts === null || ts === undefined || !Number.isFinite(ts) || Math.abs(ts) > 8.64e12) return MISSING
  return `${new Date(ts * 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** A formatted value for an axis: without zeros that tell nothing. */
export function short(text: string): string {
  return text.replace(/(\.\d*?)0+(?!\d)/, '$1').replace(/\.(?!\d)/, '')
}

/** From one formatted value to another; a unit that both have is written once. */
export function span(low: string, high: string): string {
  if (low === high) return low
  const unit = low.slice(low.indexOf(' '))
  return `${low.includes(' ') && high.endsWith(unit) ? low.slice(0, -unit.length) : low} … ${high}`
}

/** How the fields of the contract, and whatever is called like them, are shown. */
export function formatterOf(metric: string): (value: Num | undefined) => string {
  if (/(^|_)bytes(_|$)|_bytes$/.test(metric)) return bytes
  if (metric.endsWith('_mb')) return megabytes
  if (metric.endsWith('_ms')) return milliseconds
  if (metric.endsWith('_sec')) return seconds
  if (metric.endsWith('_pct')) return percent
  if (/^num_|staleness|round$/.test(metric)) return integer
  if (/accuracy|loss/.test(metric)) return score
  return number
}

/** `local_accuracy` → "Local accuracy"; units leave the name, the values carry them. */
export function title(metric: string): string {
  const known = TITLES[metric]
  if (known) return known
  const words = metric.replace(/_(sec|ms|mb|pct)$/, '').replaceAll('_', ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

const TITLES: Record<string, string> = {
  cpu_pct: 'CPU',
  ram_mb: 'RAM',
  gpu_util_pct: 'GPU load',
  gpu_vram_mb: 'GPU memory',
  num_samples: 'Samples',
  bytes_sent: 'Bytes sent',
  bytes_received: 'Bytes received',
  train_time_sec: 'Training time',
  network_latency_ms: 'Network latency',
  energy_j: 'Energy',
}
