/** What the collector tells of itself, as the page "System" shows it. */

import { figure, total, type Figure } from './exposition'
import type { Num, Source, SystemEvent } from './types'

/** One look at the collector's own figures. */
export interface Look {
  /** Epoch seconds, of this browser. */
  at: number
  figures: Figure[]
}

export interface Overview {
  memory: Num
  /** Cores' share in per cent, since the look before; null at the first. */
  cpu: Num
  descriptors: Num
  /** A second, since the look before. */
  requests: Num
  inFlight: Num
  /** Answers that were the collector's fault, since it started. */
  faults: Num
  websockets: Num
  eventStreams: Num
  /** Messages that slow readers were not told. */
  skipped: Num
  indexSize: Num
  queue: Num
}

/** What grew between two looks, by the second; null for a collector that started anew in between. */
function rate(now: Look, before: Look | null, of: (figures: Figure[]) => Num): Num {
  if (before === null || now.at <= before.at) return null
  const [last, first] = [of(now.figures), of(before.figures)]
  return last === null || first === null || last < first ? null : (last - first) / (now.at - before.at)
}

export function overviewOf(now: Look, before: Look | null): Overview {
  const { figures } = now
  const cpu = rate(now, before, (each) => figure(each, 'process_cpu_seconds_total'))
  const requests = figures.filter(({ name }) => name === 'fedsight_api_requests_total')
  return {
    memory: figure(figures, 'process_resident_memory_bytes'),
    cpu: cpu === null ? null : 100 * cpu,
    descriptors: figure(figures, 'process_open_fds'),
    requests: rate(now, before, (each) => total(each, 'fedsight_api_requests_total')),
    inFlight: figure(figures, 'fedsight_api_requests_in_flight'),
    faults: requests.length === 0 ? null : requests.filter(({ labels }) => labels['code']?.startsWith('5')).reduce((sum, { value }) => sum + value, 0),
    websockets: figure(figures, 'fedsight_connections', { kind: 'websocket' }),
    eventStreams: figure(figures, 'fedsight_connections', { kind: 'event_stream' }),
    skipped: figure(figures, 'fedsight_stream_skipped_total'),
    indexSize: figure(figures, 'fedsight_store_size_bytes'),
    queue: figure(figures, 'fedsight_index_queue_bytes'),
  }
}

/** Something that reads what the collector keeps, and how far it is behind. */
export interface Follower {
  name: string
  up: boolean | null
  lagBytes: Num
  lagSec: Num
  /** What else is known of it. */
  facts: { label: string; value: Num }[]
}

/** The index, the mirror and the shared cache, as far as they are there. */
export function followersOf(figures: readonly Figure[]): Follower[] {
  const lags = figures.filter(({ name }) => name === 'fedsight_follower_lag_bytes')
  const up = (name: string): boolean | null => {
    const value = figure(figures, name)
    return value === null ? null : value > 0
  }
  const followers: Follower[] = lags.map(({ labels, value }) => {
    const name = labels['follower'] ?? ''
    const isMirror = name === 'influxdb'
    return {
      name,
      up: up(isMirror ? 'fedsight_mirror_up' : 'fedsight_store_up'),
      lagBytes: value,
      lagSec: figure(figures, 'fedsight_follower_lag_seconds', { follower: name }),
      facts: isMirror
        ? [
            { label: 'points taken', value: figure(figures, 'fedsight_mirror_points_total') },
            { label: 'points refused', value: figure(figures, 'fedsight_mirror_points_refused_total') },
          ]
        : [{ label: 'commits', value: figure(figures, 'fedsight_store_commits_total') }],
    }
  })
  if (figures.some(({ name }) => name === 'fedsight_redis_failures_total')) {
    followers.push({
      name: 'redis',
      up: up('fedsight_redis_up'),
      lagBytes: null,
      lagSec: null,
      facts: [
        { label: 'news told', value: figure(figures, 'fedsight_fanout_messages_total', { direction: 'told' }) },
        { label: 'news heard', value: figure(figures, 'fedsight_fanout_messages_total', { direction: 'heard' }) },
        { label: 'calls failed', value: figure(figures, 'fedsight_redis_failures_total') },
      ],
    })
  }
  return followers
}

export interface RouteFigures {
  route: string
  method: string
  requests: number
  /** Answers of 400 to 499, and of 500 and above. */
  refused: number
  faults: number
  /** Mean over all methods of the route. */
  meanSec: Num
}

/** Requests by route and method, the most asked first. */
export function routesOf(figures: readonly Figure[]): RouteFigures[] {
  const rows = new Map<string, RouteFigures>()
  for (const { name, labels, value } of figures) {
    if (name !== 'fedsight_api_requests_total') continue
    const [route, method, code] = [labels['route'] ?? '', labels['method'] ?? '', labels['code'] ?? '']
    const key = `${method} ${route}`
    const row = rows.get(key) ?? { route, method, requests: 0, refused: 0, faults: 0, meanSec: null }
    row.requests += value
    if (code.startsWith('4')) row.refused += value
    if (code.startsWith('5')) row.faults += value
    rows.set(key, row)
  }
  for (const row of rows.values()) {
    const count = figure(figures, 'fedsight_api_request_duration_seconds_count', { route: row.route })
    const sum = figure(figures, 'fedsight_api_request_duration_seconds_sum', { route: row.route })
    row.meanSec = count && sum !== null ? sum / count : null
  }
  return [...rows.values()].sort((a, b) => b.requests - a.requests || (a.route < b.route ? -1 : 1))
}

/** How long a source's polls take: half of them less than this, 99 in 100 less than that. */
export function durationsOf(figures: readonly Figure[], source: string): { p50: Num; p99: Num } {
  const at = (quantile: string): Num => figure(figures, 'fedsight_source_poll_duration_seconds', { source, quantile })
  return { p50: at('0.5'), p99: at('0.99') }
}

const RANK: Record<string, number> = { down: 0, stale: 1, starting: 2, up: 3 }

/** Whoever needs looking after first, then by name. */
export function byNeed(sources: readonly Source[]): Source[] {
  return [...sources].sort((a, b) => (RANK[a.state] ?? 1) - (RANK[b.state] ?? 1) || a.name.localeCompare(b.name, 'en', { numeric: true }))
}

const SAME_SEC = 2

/** Without the states of sources that a log line tells, too, in more words. */
export function toldOnce(events: readonly SystemEvent[]): SystemEvent[] {
  const logs = events.filter(({ kind }) => kind === 'log')
  const isTold = (state: SystemEvent): boolean =>
    logs.some((log) => log.component === state.component && log.event === state.event && Math.abs((log.ts ?? Infinity) - (state.ts ?? 0)) < SAME_SEC)
  return events.filter((event) => event.kind === 'log' || !isTold(event))
}

/** Nodes that a source tells of: by its own name, below it, or (of Prometheus text) by the host and port that it asks. */
export function nodesOf(source: Pick<Source, 'name' | 'kind' | 'url'>, nodes: readonly string[]): string[] {
  const host = source.kind === 'prometheus' ? source.url.replace(/^[a-z]+:\/\//, '').replace(/^[^@/]*@/, '').split('/')[0] : null
  return nodes.filter((node) => node === source.name || node.startsWith(`${source.name}/`) || node === host)
}
