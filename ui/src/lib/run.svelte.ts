/** One run with its rounds, clients and events, kept up to date. The run's page and its clients' pages share it. */

import { api } from './api'
import { oldest } from './asof'
import { connection } from './connection.svelte'
import { decodeRows } from './decode'
import { isOfRounds } from './events'
import { patiently, phaseOf, type Phase } from './loading'
import { byClientId, byNewest, byRound, byRunId, extendSparkline, mergeSorted } from './merge'
import { LiveStream, type RowsMessage } from './stream'
import type { Client, FedEvent, Round, Run, RunDetail } from './types'

const EVENTS_PER_PAGE = 500
/** A page may hold nothing but rounds: look so many pages further. */
const PAGES_AT_ONCE = 4
/** What the stream does not carry (names of metrics, journals' last contact) is asked for at this pace. */
const DETAIL_MS = 10_000
/** A run whose address is opened before its first event has arrived: looked for again at this pace. */
const UNKNOWN_MS = 3000

export class RunView {
  phase = $state<Phase>('loading')
  message = $state('')
  run = $state.raw<Run | null>(null)
  detail = $state.raw<RunDetail | null>(null)
  rounds = $state.raw<Round[]>([])
  /** Ascending by client_id. */
  clients = $state.raw<Client[]>([])
  clientsLoaded = $state(false)
  /** Newest first. */
  events = $state.raw<FedEvent[]>([])
  /** Cursor of the older events that are not here yet. */
  olderEvents = $state<string | null>(null)

  #listeners = new Set<(fromRound: number) => void>()
  #stream: LiveStream | null = null
  #detailTimer: ReturnType<typeof setInterval>
  #again: ReturnType<typeof setTimeout> | undefined
  #stopped = false

  constructor(readonly runId: string) {
    void this.#load()
    this.#detailTimer = setInterval(() => void this.#refreshDetail(), DETAIL_MS)
  }

  stop(): void {
    this.#stopped = true
    this.#stream?.stop()
    clearInterval(this.#detailTimer)
    clearTimeout(this.#again)
  }

  /** Calls back with the lowest round that changed whenever rounds did. Returns how to end it. */
  onRounds(listener: (fromRound: number) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async loadOlderEvents(): Promise<void> {
    try {
      for (let i = 0; i < PAGES_AT_ONCE && this.olderEvents !== null; i++) {
        const before = this.events.length
        const page = await api.events(this.runId, { limit: EVENTS_PER_PAGE, cursor: this.olderEvents })
        this.#addEvents(page.rows)
        this.olderEvents = page.next
        if (this.events.length > before) return
      }
    } catch (error) {
      connection.note(error)
    }
  }

  async #load(): Promise<void> {
    try {
      const answers = await patiently(() => this.#fetch(), () => !this.#stopped)
      if (answers === null) return
      const since = oldest(answers)
      if (since === null) {
        setTimeout(() => void this.#load(), 500) // the store was exchanged between two of the answers
        return
      }
      this.#stream = new LiveStream(this.runId, since, (message) => this.#merge(message), () => void this.#load())
    } catch (error) {
      ;({ phase: this.phase, message: this.message } = phaseOf(error))
      if (this.phase === 'not_found') this.#lookAgain()
    }
  }

  #lookAgain(): void {
    if (this.#stopped) return
    this.#again = setTimeout(() => {
      api.run(this.runId).then(
        () => this.#load(),
        () => this.#lookAgain(), // still unknown, or the collector is away: nothing of this page is on screen
      )
    }, UNKNOWN_MS)
  }

  /** Fetches everything, showing each part as it comes. Returns the answers' as_of. */
  #fetch(): Promise<string[]> {
    return Promise.all([
      api.rounds(this.runId).then((rounds) => {
        this.rounds = rounds.rows
        if (this.#stream !== null) this.#tell(-Infinity) // after a reset: nothing that was fetched before holds
        return rounds.asOf
      }),
      api.run(this.runId).then((detail) => {
        this.detail = detail
        this.run = detail.run
        this.phase = 'ready'
        return detail.as_of
      }),
      api.clients(this.runId).then((clients) => {
        this.clients = clients.rows.sort(byClientId)
        this.clientsLoaded = true
        return clients.asOf
      }),
      api.events(this.runId, { limit: EVENTS_PER_PAGE }).then((events) => {
        this.events = []
        this.#addEvents(events.rows)
        this.olderEvents = events.next
        return events.asOf
      }),
    ])
  }

  #merge(message: RowsMessage): void {
    if (message.runs) {
      const mine = decodeRows<Run>(message.runs).filter((run) => run.run_id === this.runId)
      this.run = mergeSorted(this.run ? [this.run] : [], mine, byRunId)[0] ?? null
    }
    if (message.clients) this.#mergeClients(decodeRows<Client>(message.clients))
    if (message.events) this.#addEvents(decodeRows<FedEvent>(message.events))
    if (message.rounds) {
      const news = decodeRows<Round>(message.rounds)
      if (news.length === 0) return
      this.rounds = mergeSorted(this.rounds, news, byRound)
      this.#tell(Math.min(...news.map((round) => round.round)))
    }
  }

  #tell(fromRound: number): void {
    for (const listener of this.#listeners) listener(fromRound)
  }

  #addEvents(news: FedEvent[]): void {
    this.events = mergeSorted(this.events, news.filter((event) => !isOfRounds(event)), byNewest)
  }

  #mergeClients(news: Client[]): void {
    const before = new Map(this.clients.map((client) => [client.client_id, client]))
    for (const client of news) client.sparkline ??= extendSparkline(before.get(client.client_id), client)
    this.clients = mergeSorted(this.clients, news, byClientId)
  }

  async #refreshDetail(): Promise<void> {
    const live = this.run?.state === 'running' || this.run?.state === 'lost'
    if (!live || document.hidden || connection.away || connection.loginWanted) return
    try {
      this.detail = await api.run(this.runId)
    } catch (error) {
      connection.note(error)
    }
  }
}
