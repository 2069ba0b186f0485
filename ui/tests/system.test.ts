import { expect, it } from 'vitest'
import { figuresOf } from '../src/lib/exposition'
import { byNeed, durationsOf, followersOf, nodesOf, overviewOf, routesOf, toldOnce } from '../src/lib/system'
import type { Source, SystemEvent } from '../src/lib/types'

const look = (at: number, text: string) => ({ at, figures: figuresOf(text) })

it('knows rates from the second look on, and none across a restart', () => {
  const first = look(10, 'process_cpu_seconds_total 4\nfedsight_api_requests_total{code="200"} 100')
  const second = look(15, 'process_cpu_seconds_total 5\nfedsight_api_requests_total{code="200"} 140\nfedsight_api_requests_total{code="503"} 10')
  expect(overviewOf(first, null)).toMatchObject({ cpu: null, requests: null, memory: null, faults: 0 })
  expect(overviewOf(second, first)).toMatchObject({ cpu: 20, requests: 10, faults: 10 })
  expect(overviewOf(first, look(5, 'process_cpu_seconds_total 900'))).toMatchObject({ cpu: null })
})

it('lists the index always, mirror and cache where they are', () => {
  const index = 'fedsight_follower_lag_bytes{follower="index"} 7\nfedsight_store_up 1\n'
  expect(followersOf(figuresOf(index))).toMatchObject([{ name: 'index', up: true, lagBytes: 7, lagSec: null }])
  const all = `${index}fedsight_follower_lag_bytes{follower="influxdb"} 9\nfedsight_mirror_up 0\nfedsight_redis_failures_total 3\n`
  expect(followersOf(figuresOf(all)).map(({ name, up }) => [name, up])).toEqual([['index', true], ['influxdb', false], ['redis', null]])
})

it('adds up requests by route and method, the most asked first', () => {
  const page = figuresOf(`fedsight_api_requests_total{method="GET",route="/a",code="200"} 1
fedsight_api_requests_total{method="GET",route="/b",code="200"} 8
fedsight_api_requests_total{method="GET",route="/b",code="404"} 1
fedsight_api_requests_total{method="GET",route="/b",code="500"} 1
fedsight_api_request_duration_seconds_sum{route="/b"} 5
fedsight_api_request_duration_seconds_count{route="/b"} 10`)
  expect(routesOf(page)).toEqual([
    { route: '/b', method: 'GET', requests: 10, refused: 1, faults: 1, meanSec: 0.5 },
    { route: '/a', method: 'GET', requests: 1, refused: 0, faults: 0, meanSec: null },
  ])
})

it('knows how long polls take where there were any', () => {
  const page = figuresOf('fedsight_source_poll_duration_seconds{source="a",quantile="0.5"} 0.1\nfedsight_source_poll_duration_seconds{source="a",quantile="0.99"} 0.9')
  expect(durationsOf(page, 'a')).toEqual({ p50: 0.1, p99: 0.9 })
  expect(durationsOf(page, 'b')).toEqual({ p50: null, p99: null })
})

it('puts first who needs looking after', () => {
  const of = (name: string, state: string): Source => ({ name, state }) as Source
  const sources = [of('a', 'up'), of('b10', 'down'), of('b9', 'down'), of('c', 'stale'), of('d', 'starting')]
  expect(byNeed(sources).map(({ name }) => name)).toEqual(['b9', 'b10', 'c', 'd', 'a'])
})

it('tells a change of state once: in the words of the log, where there are any', () => {
  const of = (kind: string, event: string, ts: number): SystemEvent => ({ kind, event, ts, component: 'sdn' }) as SystemEvent
  const events = [of('source_state', 'down', 50), of('log', 'up', 10.5), of('source_state', 'up', 10)]
  expect(toldOnce(events)).toEqual([events[0], events[1]])
})

it('finds what a source tells of by its name, below it, and by the host that it asks', () => {
  const nodes = ['127.0.0.1:9100', 'policy', 'policy/hourly', 'policy-2', '127.0.0.1:91']
  expect(nodesOf({ name: 'gauges', kind: 'prometheus', url: 'http://***@127.0.0.1:9100/metrics' }, nodes)).toEqual(['127.0.0.1:9100'])
  expect(nodesOf({ name: 'policy', kind: 'policy', url: 'http://pe:5000' }, nodes)).toEqual(['policy', 'policy/hourly'])
  expect(nodesOf({ name: 'trainer', kind: 'fl_server', url: 'http://127.0.0.1:9100/state' }, nodes)).toEqual([])
})
