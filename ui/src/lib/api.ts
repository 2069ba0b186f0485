/** Calls of the HTTP API. Every failure is an ApiError; nothing else is thrown. */

import { decodeRow, decodeSeries, decodeTable } from './decode'
import { noteServerTime } from './clock.svelte'
import { figuresOf, type Figure } from './exposition'
import type {
  Client, ConfigValue, DeadLetter, FedEvent, Health, MetricNames, Network, NetworkMetrics, Node, PolicyEvent, Round, Rows, Run, RunDetail, Samples, Series, Source,
  Status, StepCurve, SystemEvent, Update, WireTable,
} from './types'

/** `away`: nobody answered. `unauthorized`: log in. `not_found`: no such run or client. `refused`: everything else. */
export type ApiErrorKind = 'away' | 'unauthorized' | 'not_found' | 'refused'

export class ApiError extends Error {
  constructor(
    readonly kind: ApiErrorKind,
    message: string,
    readonly status = 0,
  ) {
    super(message)
  }
}

type Query = Record<string, string | number | readonly string[] | null | undefined>

const PAGE = 10_000

export function apiUrl(path: string, query: Query = {}): string {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === '') continue
    for (const each of typeof value === 'object' ? value : [value]) search.append(key, String(each))
  }
  const text = search.toString()
  return `/api/v1${path}${text ? `?${text}` : ''}`
}

async function call<T>(path: string, query: Query = {}, init: RequestInit = {}): Promise<T> {
  const response = await answered(apiUrl(path, query), { headers: { Accept: 'application/json' }, ...init })
  const text = await response.text()
  try {
    return (text ? JSON.parse(text) : null) as T
  } catch {
    throw new ApiError('refused', `The answer to ${path} is not JSON.`, response.status)
  }
}

async function answered(url: string, init: RequestInit): Promise<Response> {
  let response: Response
  try {
    response = await fetch(url, init)
  } catch {
    throw new ApiError('away', 'The collector does not answer.')
  }
  noteServerTime(response.headers.get('date'))
  if (response.ok) return response
  throw new ApiError(kindOf(response.status), await messageOf(response), response.status)
}

function kindOf(status: number): ApiErrorKind {
  if (status === 401) return 'unauthorized'
  if (status === 404) return 'not_found'
  // A proxy in front of a collector that is gone answers 502 to 504; the collector itself says 503 while it starts.
  if (status >= 502 && status <= 504) return 'away'
  return 'refused'
}

async function messageOf(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: { message?: unknown } }
    if (typeof body.error?.message === 'string') return body.error.message
  } catch {
    // A proxy's error page is no JSON; the status line then has to do.
  }
  return `The collector answered ${response.status} ${response.statusText}.`
}

const at = (runId: string, rest = ''): string => `/runs/${encodeURIComponent(runId)}${rest}`

/** All pages of a table, at most `most` rows. The as_of is the first page's: the oldest. */
async function all<T>(path: string, query: Query, most: number): Promise<Rows<T>> {
  const first = decodeTable<T>(await call<WireTable>(path, { ...query, limit: Math.min(PAGE, most) }))
  let next = first.next
  while (next !== null && first.rows.length < most) {
    const page = decodeTable<T>(await call<WireTable>(path, { ...query, limit: PAGE, cursor: next }))
    first.rows.push(...page.rows)
    next = page.next
  }
  return { ...first, next }
}

export const api = {
  status: () => call<Status>('/status'),

  login: (token: string) =>
    call<unknown>('/login', {}, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ token }),
    }),

  runs: () => all<Run>('/runs', {}, 50_000),

  async run(runId: string): Promise<RunDetail> {
    const detail = await call<RunDetail>(at(runId))
    return { ...detail, run: decodeRow<Run>(detail.run as unknown as Record<string, unknown>) }
  },

  rounds: (runId: string) => all<Round>(at(runId, '/rounds'), {}, 200_000),

  clients: (runId: string) => all<Client>(at(runId, '/clients'), { sparkline: 'local_accuracy' }, 50_000),

  async client(runId: string, clientId: string): Promise<{ asOf: string; client: Client }> {
    const answer = await call<{ as_of: string; client: Record<string, unknown> }>(
      at(runId, `/clients/${encodeURIComponent(clientId)}`),
    )
    return { asOf: answer.as_of, client: decodeRow<Client>(answer.client) }
  },

  async updates(runId: string, query: Query): Promise<Rows<Update>> {
    return decodeTable<Update>(await call<WireTable>(at(runId, '/updates'), query))
  },

  /** A client's staleness by round. The collector works it out, so it is no metric of the client's. */
  async staleness(runId: string, clientId: string, from: number | null): Promise<Series> {
    const query = { client_id: clientId, from, fields: 'staleness' }
    const { rows } = await all<Update>(at(runId, '/updates'), query, 200_000)
    return { round: rows.map((update) => update.round), staleness: rows.map((update) => update.staleness) }
  },

  /** Without the starts and ends of rounds, where the collector is new enough to leave them out. */
  async events(runId: string, query: Query): Promise<Rows<FedEvent>> {
    return decodeTable<FedEvent>(await call<WireTable>(at(runId, '/events'), { ...query, exclude_kind: ['round_start', 'round_end'] }))
  },

  async deadLetters(runId: string, query: Query): Promise<Rows<DeadLetter>> {
    return decodeTable<DeadLetter>(await call<WireTable>('/dead-letters', { ...query, run_id: runId }))
  },

  async series(runId: string, query: Query): Promise<Series> {
    return decodeSeries(await call<WireTable>(at(runId, '/series'), query))
  },

  /** The points of one `log_metric` curve; `clientId` null is the server. */
  async steps(runId: string, key: string, clientId: string | null, maxPoints: number): Promise<StepCurve> {
    const query = { scope: 'step', metric: key, client_id: clientId, max_points: maxPoints }
    const { step, ts, value } = decodeSeries(await call<WireTable>(at(runId, '/series'), query))
    return { step: step ?? [], ts: ts ?? [], value: value ?? [] }
  },

  nodes: (query: Query, most = 20_000) => all<Node>('/nodes', query, most),

  /** Of a run's client or server, or of a node that belongs to no run. */
  async samples(node: Pick<Node, 'node' | 'run_id' | 'client_id'>, query: Query): Promise<Samples> {
    const path = node.run_id === null ? '/samples' : at(node.run_id, '/samples')
    const { ts, ...values } = decodeSeries(await call<WireTable>(path, { ...query, node: node.node, client_id: node.client_id }))
    return { ...values, ts: ts as number[] }
  },

  /** How the collector and its parts do; null where it can't tell. An unhealthy one answers 503, and says why. */
  async health(): Promise<Health | null> {
    try {
      const response = await fetch('/health', { headers: { Accept: 'application/json' } })
      const body = (await response.json()) as Health
      return typeof body?.components === 'object' ? body : null
    } catch {
      return null // an older collector's word, or a proxy's page; whether it is away is told by the other calls
    }
  },

  sources: async () => (await call<{ sources: Source[] }>('/sources')).sources,

  config: async () => (await call<{ values: ConfigValue[] }>('/config')).values,

  /** What the collector tells of itself, as Prometheus text. */
  async ownFigures(): Promise<Figure[]> {
    return figuresOf(await (await answered('/metrics', { headers: { Accept: 'text/plain' } })).text())
  },

  async systemEvents(query: Query): Promise<Rows<SystemEvent>> {
    return decodeTable<SystemEvent>(await call<WireTable>('/system/events', query))
  },

  async policyEvents(query: Query): Promise<Rows<PolicyEvent>> {
    return decodeTable<PolicyEvent>(await call<WireTable>('/policy/events', query))
  },

  async allDeadLetters(query: Query): Promise<Rows<DeadLetter>> {
    return decodeTable<DeadLetter>(await call<WireTable>('/dead-letters', query))
  },

  networks: async () => (await call<{ topologies: Network[] }>('/network/topology')).topologies,

  networkMetrics: (timeframe: string, source: string | null = null) => call<NetworkMetrics>('/network/metrics', { timeframe, source }),

  metrics: (runId: string) => call<MetricNames & { as_of: string }>(at(runId, '/metrics')),
}
