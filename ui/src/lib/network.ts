/** A network as its source tells of it: what its devices, links and ports are called, and what they carry. */

import type { Host, Link, Network, Node, Num } from './types'
import type { ResourceChart } from './resources'
import { bitRate, milliseconds, perSecond, ratio } from './format'

/** A port with its last figures; null is what nobody told. */
export interface Port {
  node: string
  device: string
  port: string
  up: boolean | null
  speed: Num
  rx: Num
  tx: Num
  /** 0 to 1: the busier direction's share of the speed. */
  utilization: Num
  /** A second, both directions. */
  errors: Num
  drops: Num
  /** Since the device counts, both directions. */
  allErrors: Num
  allDrops: Num
  lastTs: Num
  /** Its device does not answer, or others of the network have been read since: the figures are of then. */
  stale: boolean
  raw: Node
}

/** A target of an active probe. */
export interface Reached {
  node: string
  latency: Num
  /** 0 to 1. */
  loss: Num
  lastTs: Num
  raw: Node
}

const OF_PORTS = ['rx_bps', 'tx_bps', 'network.io{direction=receive}', 'network.io{direction=transmit}', 'network.packets{direction=receive}', 'network.packets{direction=transmit}', 'speed_bps']

const of = (node: Node, key: string): Num => node.metrics?.[key] ?? null

/** Null where both are unknown. */
function both(node: Node, a: string, b: string): Num {
  const [x, y] = [of(node, a), of(node, b)]
  return x === null && y === null ? null : (x ?? 0) + (y ?? 0)
}

const truth = (value: Num): boolean | null => (value === null ? null : value > 0)

export function isPort(node: Node): boolean {
  return node.node.includes('/') && OF_PORTS.some((key) => of(node, key) !== null)
}

const STALE_SEC = 60

/** The ports among the nodes. `network`: whose devices they are, where that is known. */
export function portsOf(nodes: readonly Node[], network: Network | null): Port[] {
  const down = new Set((network?.devices ?? []).filter(({ up }) => up === false).map(({ id }) => id))
  const found = nodes.filter(isPort).map(portOf)
  const newest = found.reduce((last, { lastTs }) => Math.max(last, lastTs ?? 0), 0)
  return found.map((port) => ({ ...port, stale: down.has(port.device) || (port.lastTs ?? 0) < newest - STALE_SEC }))
}

export function portOf(node: Node): Port {
  const cut = node.node.lastIndexOf('/')
  return {
    node: node.node,
    device: node.node.slice(0, cut),
    port: node.node.slice(cut + 1),
    up: truth(of(node, 'up')),
    speed: of(node, 'speed_bps'),
    rx: of(node, 'rx_bps'),
    tx: of(node, 'tx_bps'),
    utilization: of(node, 'utilization'),
    errors: both(node, 'rx_errors_per_sec', 'tx_errors_per_sec'),
    drops: both(node, 'rx_dropped_per_sec', 'tx_dropped_per_sec'),
    allErrors: both(node, 'rx_errors', 'tx_errors'),
    allDrops: both(node, 'rx_dropped', 'tx_dropped'),
    lastTs: node.last_ts,
    stale: false,
    raw: node,
  }
}

/** What active probes reached. Their mean over all targets is no target. */
export function reachedOf(nodes: readonly Node[]): Reached[] {
  return nodes
    .filter((node) => /^(tcp|icmp):/.test(node.node) && (of(node, 'latency_ms') !== null || of(node, 'packet_loss_rate') !== null))
    .map((node) => ({ node: node.node, latency: of(node, 'latency_ms'), loss: of(node, 'packet_loss_rate'), lastTs: node.last_ts, raw: node }))
}

/** "of:1" for "of:0000000000000001"; other names stay. */
export function shortId(id: string): string {
  const found = /^of:0*([0-9a-f]+)$/.exec(id)
  return found ? `of:${found[1]}` : id
}

/** The same within a text. */
export const shortIds = (text: string): string => text.replace(/\bof:0+(?=[0-9a-f])/g, 'of:')

/** What each device is called: its own name where no other has it, else its id. */
export function deviceNames(network: Network | null): Map<string, string> {
  const devices = network?.devices ?? []
  const uses = new Map<string, number>()
  for (const { name } of devices) if (name) uses.set(name, (uses.get(name) ?? 0) + 1)
  return new Map(devices.map(({ id, name }) => [id, name && uses.get(name) === 1 ? name : shortId(id)]))
}

export function hostName(host: Host): string {
  return host.name || host.addresses?.[0] || host.mac || host.id
}

export interface LinkLoad {
  /** 0 to 1. */
  utilization: Num
  /** Bits a second, the busier direction. */
  rate: Num
}

const highest = (values: Num[]): Num => values.reduce((most, value) => (value === null ? most : most === null ? value : Math.max(most, value)), null)

/** What a link carries, as the ports at its ends tell; null where neither does (any more). */
export function loadOf(link: Link, ports: ReadonlyMap<string, Port>): LinkLoad {
  const ends = [link.src, link.dst].map(({ device, port }) => ports.get(`${device}/${port}`)).filter((end) => end?.stale !== true)
  return {
    utilization: highest(ends.map((end) => end?.utilization ?? null)),
    rate: highest(ends.flatMap((end) => [end?.rx ?? null, end?.tx ?? null])),
  }
}

export type Level = 'down' | 'unknown' | 'calm' | 'busy' | 'full'

/** How much somebody should look at a link. */
export function levelOf(isUp: boolean, utilization: Num): Level {
  if (!isUp) return 'down'
  if (utilization === null || !Number.isFinite(utilization)) return 'unknown'
  return utilization >= 0.9 ? 'full' : utilization >= 0.7 ? 'busy' : 'calm'
}

/** Charts of a port or a target. */
export const NETWORK_CHARTS: readonly ResourceChart[] = [
  {
    title: 'Rate',
    format: bitRate,
    curves: [
      { key: 'rx_bps', label: 'Received', colour: 'sky' },
      { key: 'tx_bps', label: 'Sent', colour: 'vermillion' },
    ],
  },
  { title: 'Utilisation', format: ratio, curves: [{ key: 'utilization', label: 'Busier direction', colour: 'blue', hint: 'Share of the port’s speed' }] },
  {
    title: 'Errors and drops',
    format: perSecond,
    curves: [
      { key: 'rx_errors_per_sec', label: 'Errors received', colour: 'purple' },
      { key: 'tx_errors_per_sec', label: 'Errors sent', colour: 'brown' },
      { key: 'rx_dropped_per_sec', label: 'Dropped, received', colour: 'orange' },
      { key: 'tx_dropped_per_sec', label: 'Dropped, sent', colour: 'vermillion' },
    ],
  },
  { title: 'Latency', format: milliseconds, curves: [{ key: 'latency_ms', label: 'There and back', colour: 'blue' }] },
  { title: 'Loss', format: ratio, curves: [{ key: 'packet_loss_rate', label: 'Tries lost', colour: 'vermillion' }] },
]
