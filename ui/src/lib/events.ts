/** Events in words: what happened, to whom, and how much it matters. */

import { bytes } from './format'
import type { FedEvent } from './types'

export type Tone = 'grey' | 'orange' | 'vermillion' | 'blue' | 'green' | 'purple'

export const GROUPS = ['Dropouts and failures', 'Checkpoints', 'Notes', 'Logs', 'Run', 'Sites', 'Other'] as const
export type Group = (typeof GROUPS)[number]

const BY_KIND: Record<string, Group> = {
  client_event: 'Dropouts and failures',
  checkpoint: 'Checkpoints',
  text: 'Notes',
  log: 'Logs',
  run_start: 'Run',
  run_end: 'Run',
  server: 'Run',
  client_info: 'Sites',
}

/** Starts and ends of rounds are not kept: they are many, and the charts tell them better. */
export function isOfRounds(event: FedEvent): boolean {
  return event.kind === 'round_start' || event.kind === 'round_end'
}

/** What a monitor can't measure on its machine: many lines, none of which is news; `fedsight probes` and summaries say it. */
export function isOfMissingProbe(event: { component: unknown; event: string | null }): boolean {
  return event.component === 'monitor' && event.event === 'unavailable'
}

/** A checkpoint is told twice, the second time with its hash: the first one goes. */
export function isFirstTelling(event: FedEvent, index: number, events: readonly FedEvent[]): boolean {
  return event.kind === 'checkpoint' && events.slice(Math.max(0, index - 20), index).some((newer) => repeats(newer, event))
}

function repeats(newer: FedEvent, event: FedEvent): boolean {
  return newer.kind === 'checkpoint' && newer.message === event.message && newer.round === event.round
}

/** A site's own recording begins and ends like a run, and is neither. */
function isOfSite(event: FedEvent): boolean {
  return (event.kind === 'run_start' || event.kind === 'run_end') && event.client_id !== null
}

export function groupOf(event: FedEvent): Group {
  if (isOfSite(event)) return 'Sites'
  return BY_KIND[event.kind] ?? 'Other'
}

/** A line of the list: an event, or several sites' doing the same one after the other. */
export interface EventLine {
  event: FedEvent
  what: string
  detail: string
  tone: Tone
  /** Events in this line. */
  count: number
}

/** The events as lines: what sites do one after the other ("Site finished") becomes one line of all of them. */
export function linesOf(events: readonly FedEvent[]): EventLine[] {
  const lines: EventLine[] = []
  let sites: string[] = []
  for (const event of events) {
    const said = describe(event)
    const last = lines.at(-1)
    if (last && isOfSite(event) && isOfSite(last.event) && describe(last.event).what === said.what && said.detail === '' && !sites.includes(event.client_id!)) {
      sites.push(event.client_id!)
      last.count++
      last.what = said.what === 'Site is back' ? `${last.count} sites are back` : said.what.replace(/^Site/, `${last.count} sites`)
      last.detail = sites.join(', ')
    } else {
      lines.push({ event, ...said, count: 1 })
      sites = [event.client_id ?? '']
    }
  }
  return lines
}

const CLIENT_EVENTS: Record<string, { what: string; tone: Tone }> = {
  dropout: { what: 'Dropout', tone: 'orange' },
  comm_failure: { what: 'Communication failure', tone: 'vermillion' },
  joined: { what: 'Joined', tone: 'green' },
  left: { what: 'Left', tone: 'grey' },
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

const asMap = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {})

export function describe(event: FedEvent): { what: string; detail: string; tone: Tone } {
  const data = event.data ?? {}
  const message = event.message ?? ''
  switch (event.kind) {
    case 'client_event': {
      const known = CLIENT_EVENTS[event.event ?? ''] ?? { what: event.event ?? 'Client event', tone: 'grey' as Tone }
      return { ...known, detail: message }
    }
    case 'checkpoint': {
      const size = typeof data['size_bytes'] === 'number' ? bytes(data['size_bytes']) : ''
      return { what: 'Checkpoint', detail: [message || text(data['path']), size].filter(Boolean).join(', '), tone: 'blue' }
    }
    case 'text':
      return { what: 'Note', detail: message, tone: 'purple' }
    case 'client_info': {
      const told = { ...asMap(data['params']), ...asMap(data['tags']) }
      return { what: 'Client', detail: Object.entries(told).map(([name, value]) => `${name} ${text(value) || JSON.stringify(value)}`).join(', '), tone: 'grey' }
    }
    case 'log': {
      const level = text(data['level'])
      const tone: Tone = level === 'error' ? 'vermillion' : level === 'warning' ? 'orange' : 'grey'
      return { what: text(data['component']) || event.event || 'Log', detail: message, tone }
    }
    case 'run_start':
      if (isOfSite(event)) return { what: data['resumed'] === true ? 'Site is back' : 'Site joined', detail: message, tone: 'grey' }
      return { what: data['resumed'] === true ? 'Run resumed' : 'Run started', detail: message, tone: 'green' }
    case 'run_end': {
      const status = text(data['status']) || event.event || ''
      const bad = status === 'failed' || status === 'killed'
      if (isOfSite(event)) return { what: `Site ${status || 'left'}`, detail: message, tone: bad ? 'orange' : 'grey' }
      return { what: `Run ${status || 'ended'}`, detail: message, tone: bad ? 'vermillion' : 'blue' }
    }
    case 'server':
      return { what: 'Server', detail: message, tone: 'grey' }
    default:
      return { what: event.event ?? event.kind, detail: message, tone: 'grey' }
  }
}
