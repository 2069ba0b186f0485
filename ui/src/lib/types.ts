/** The rows of the HTTP API (docs/api.md). Missing is null; NaN and infinities are JavaScript's own. */

export type Num = number | null

export type RunStateName = 'running' | 'finished' | 'failed' | 'killed' | 'lost'

export interface Run {
  run_id: string
  project: string | null
  algorithm: string | null
  framework: string | null
  state: RunStateName
  error: string | null
  started_at: Num
  ended_at: Num
  last_event_at: Num
  duration_sec: Num
  current_round: Num
  num_rounds: Num
  num_clients: Num
  num_updates: Num
  global_accuracy: Num
  global_loss: Num
  best_accuracy: Num
  total_bytes_up: Num
  total_bytes_down: Num
}

export interface Round {
  round: number
  state: 'open' | 'closed'
  started_at: Num
  ended_at: Num
  global_accuracy: Num
  global_loss: Num
  num_selected: Num
  num_completed: Num
  num_dropouts: Num
  num_failures: Num
  num_stragglers: Num
  num_late: Num
  participation_rate: Num
  round_duration_sec: Num
  aggregation_time_sec: Num
  total_bytes_up: Num
  total_bytes_down: Num
  bytes_per_client: Num
  gradient_norm_dispersion: Num
  mean_staleness: Num
  max_staleness: Num
  metrics: Record<string, Num> | null
}

/** The metadata contract: what a client may say of itself with every update. */
export interface Contract {
  local_accuracy: Num
  local_loss: Num
  num_samples: Num
  gradient_norm: Num
  gradient_magnitude: Num
  sparsity: Num
  compression_ratio: Num
  bytes_sent: Num
  bytes_received: Num
  network_latency_ms: Num
  train_time_sec: Num
  cpu_pct: Num
  ram_mb: Num
  gpu_util_pct: Num
  gpu_vram_mb: Num
  lat: Num
  lng: Num
  city: string | null
  country: string | null
}

export interface Client extends Contract {
  client_id: string
  status: string | null
  last_round: Num
  last_seen: Num
  num_updates: Num
  num_dropouts: Num
  num_failures: Num
  staleness: Num
  base_round: Num
  metrics: Record<string, Num> | null
  /** How sure `lat` and `lng` are: told by the client, or looked up by the name of its city or country. */
  location_precision?: 'given' | 'city' | 'country' | null
  /** What of the row the client did not tell: its own monitor measured it. */
  measured?: string[] | null
  /** The last values of local_accuracy, oldest first; only where the list was asked for them. */
  sparkline?: Num[] | null
}

export interface Update extends Contract {
  round: number
  client_id: string
  ts: Num
  status: string | null
  base_round: Num
  staleness: Num
  metrics: Record<string, Num> | null
  extra: Record<string, unknown> | null
  late: boolean | null
  /** What the client's machine used while it trained, as its monitor measured it. */
  energy_j?: Num
  measured?: string[] | null
}

export interface FedEvent {
  ts: Num
  kind: string
  event: string | null
  client_id: string | null
  round: Num
  message: string | null
  data: Record<string, unknown> | null
  journal: string
  offset: number
}

export interface JournalInfo {
  journal: string
  role: string
  client_id: string | null
  offset: number
  last_contact: Num
  num_bad: number
}

/** A line of a journal that is no event. */
export interface DeadLetter {
  journal: string
  offset: number
  run_id: string | null
  reason: string
  received_at: Num
}

export interface MetricNames {
  global: string[]
  client: string[]
  step: { key: string; client_id: string | null }[]
}

export interface RunDetail {
  as_of: string
  run: Run
  config: Record<string, unknown>
  tags: Record<string, string>
  server: Record<string, unknown> | null
  journals: JournalInfo[]
  metrics: MetricNames
}

/** A table as the API sends it: one array a column, all equally long. */
export interface WireTable {
  as_of?: string
  next?: string | null
  columns: Record<string, unknown[]>
}

/** A table as the pages use it. */
export interface Rows<T> {
  asOf: string
  next: string | null
  rows: T[]
}

/** The points of one `log_metric` curve, in the order of their steps; `step` is null where none was given. */
export interface StepCurve {
  step: Num[]
  ts: Num[]
  value: Num[]
}

/** A machine, or another thing that has samples, as one journal tells of it, with last known values. */
export interface Node {
  node: string
  run_id: string | null
  client_id: string | null
  journal: string
  first_ts: Num
  last_ts: Num
  num_samples: Num
  cpu_pct: Num
  cpu_cores: Num
  ram_mb: Num
  memory_pct: Num
  gpu_util_pct: Num
  gpu_vram_mb: Num
  power_w: Num
  /** The last value of every key that was measured; only where it was asked for. */
  metrics?: Record<string, Num> | null
}

/** What was measured of one node: key → values, in step with `ts`. */
export type Samples = Record<string, Num[]> & { ts: number[] }

/** Curves over the rounds: column name → values, in step with `round`. */
export type Series = Record<string, Num[]> & { round: number[] }

/** A system that the collector asks again and again. */
export interface Source {
  name: string
  kind: string
  url: string
  state: string
  since: Num
  interval_sec: number
  timeout_sec: number
  last_success_at: Num
  last_error: string | null
  last_error_at: Num
  last_duration_sec: Num
  next_poll_at: Num
  clock_error: string | null
  num_cycles: number
  num_successes: number
  num_failures: number
  num_events: number
}

/** What a system said, or how a source did. */
export interface SystemEvent {
  ts: Num
  kind: string
  component: string
  event: string
  level: string
  message: string | null
  run_id: string | null
  client_id: string | null
  journal: string
  offset: number
}

export interface PolicyEvent {
  ts: Num
  type: string
  source: string | null
  id: string | null
  component: string | null
  policy_id: string | null
  action: string | null
  result: string | null
  reason: string | null
  trust_score: Num
  client_id: string | null
  run_id: string | null
  journal: string
  offset: number
}

/** One value of the configuration in force. */
export interface ConfigValue {
  key: string
  value: unknown
  origin: string
  note: string | null
}

export interface Status {
  as_of: string
  mode: string
  version: string
  started_at?: number
  num_runs?: number
  num_journals?: number
  pending_bytes?: number
  num_dead_letters?: number
  index_error?: string | null
  system_health?: string
}

/** How the collector and each of its parts does: healthy, degraded, unhealthy or starting. */
export interface Health {
  status: string
  components: Record<string, { status: string; error?: string }>
}

export interface Device {
  id: string
  up?: boolean
  name?: string
  type?: string
  manufacturer?: string
  hardware?: string
  software?: string
  address?: string
}

export interface End {
  device: string
  port: string
}

export interface Link {
  id: string
  src: End
  dst: End
  up?: boolean
  one_way?: boolean
}

export interface Host {
  id: string
  name?: string
  mac?: string
  addresses?: string[]
  device?: string
  port?: string
}

/** A network as one source last told it. */
export interface Network {
  source: string
  ts: number
  last_change: number
  devices: Device[]
  links: Link[]
  hosts: Host[]
  journal: string
}

export interface NetworkMetrics {
  last_update: string | null
  topology: { devices: number | null; hosts: number | null; links: number | null; devices_down: number | null; links_down: number | null }
  performance: { average_latency_ms: unknown; peak_bandwidth_mbps: unknown; packet_loss_rate: unknown; flow_table_utilization: unknown }
  traffic_analysis: { fl_traffic_percentage: unknown; control_traffic_percentage: unknown; background_traffic_percentage: unknown }
  qos_metrics: { high_priority_flows: number | null; medium_priority_flows: number | null; low_priority_flows: number | null; priority_violations: number | null }
}
