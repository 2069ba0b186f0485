import { expect, it } from 'vitest'
import { deviceNames, levelOf, loadOf, portsOf, reachedOf, shortId, shortIds } from '../src/lib/network'
import type { Network, Node } from '../src/lib/types'

const node = (name: string, metrics: Record<string, number>, last_ts = 1000): Node => ({
  node: name, metrics, last_ts, journal: 'j', run_id: null, client_id: null, first_ts: 0, num_samples: 1,
  cpu_pct: null, cpu_cores: null, ram_mb: null, memory_pct: null, gpu_util_pct: null, gpu_vram_mb: null, power_w: null,
})
const network = (more: Partial<Network>): Network => ({ source: 's', ts: 0, last_change: 0, devices: [], links: [], hosts: [], journal: 'j', ...more })
const link = { id: 'l', src: { device: 'a', port: '1' }, dst: { device: 'b', port: '2' }, up: true }

it('tells ports from devices, and knows what nobody told', () => {
  const ports = portsOf([node('of:1/3', { rx_bps: 8, up: 1 }), node('of:1', { up: 1, flows: 4 }), node('sdn', { devices: 1 })], null)
  expect(ports).toHaveLength(1)
  expect(ports[0]).toMatchObject({ device: 'of:1', port: '3', up: true, rx: 8, tx: null, utilization: null, errors: null, allDrops: null, stale: false })
})

it('adds up what goes wrong in both directions, where one is known', () => {
  const [port] = portsOf([node('a/1', { rx_bps: 0, rx_errors_per_sec: 2, rx_dropped: 3, tx_dropped: 4 })], null)
  expect(port).toMatchObject({ errors: 2, drops: null, allDrops: 7 })
})

it('takes the figures of a device that does not answer, or is not read any more, for old', () => {
  const nodes = [node('a/1', { rx_bps: 1 }, 1000), node('b/1', { rx_bps: 1 }, 999), node('c/1', { rx_bps: 1 }, 900)]
  const ports = portsOf(nodes, network({ devices: [{ id: 'a', up: true }, { id: 'b', up: false }] }))
  expect(ports.map(({ stale }) => stale)).toEqual([false, true, true])
})

it('takes a link’s load from the end that says most, and from no old one', () => {
  const of = (nodes: Node[], net: Network | null = null) => loadOf(link, new Map(portsOf(nodes, net).map((port) => [port.node, port])))
  expect(of([node('a/1', { rx_bps: 10, utilization: 0.1 }), node('b/2', { tx_bps: 30, utilization: 0.3 })])).toEqual({ utilization: 0.3, rate: 30 })
  expect(of([])).toEqual({ utilization: null, rate: null })
  expect(of([node('b/2', { rx_bps: 30, utilization: 0.3 })], network({ devices: [{ id: 'b', up: false }] }))).toEqual({ utilization: null, rate: null })
})

it('says of a link how much somebody should look at it', () => {
  expect([levelOf(false, 0.1), levelOf(true, null), levelOf(true, NaN), levelOf(true, 0), levelOf(true, 0.7), levelOf(true, 0.9)]).toEqual(['down', 'unknown', 'unknown', 'calm', 'busy', 'full'])
})

it('names devices by their own names where these tell them apart', () => {
  const devices = [{ id: 'of:0000000000000001', name: 'core' }, { id: 'of:000000000000000a', name: 'edge' }, { id: 'of:0000000000000b00', name: 'edge' }, { id: 'leaf' }]
  expect([...deviceNames(network({ devices })).values()]).toEqual(['core', 'of:a', 'of:b00', 'leaf'])
  expect(shortId('of:0000000000000000')).toBe('of:0')
  expect(shortIds('link of:0000000000000001/1-of:0000000000000010/2 is down')).toBe('link of:1/1-of:10/2 is down')
})

it('finds the targets of active probes, not their mean', () => {
  const nodes = [node('tcp://10.0.0.1:80', { latency_ms: 2, packet_loss_rate: 0 }), node('icmp://h', { packet_loss_rate: 1 }), node('probe', { packet_loss_rate: 0.5 })]
  expect(reachedOf(nodes).map(({ node: name, latency, loss }) => [name, latency, loss])).toEqual([['tcp://10.0.0.1:80', 2, 0], ['icmp://h', null, 1]])
})
