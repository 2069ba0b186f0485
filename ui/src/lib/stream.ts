/** The live stream: server-sent events from /api/v1/stream, opened again for as long as somebody looks. */

import { api, apiUrl } from './api'
import { backoff, connection } from './connection.svelte'
import type { WireTable } from './types'

export interface RowsMessage {
  type: 'rows'
  as_of: string
  runs?: WireTable
  rounds?: WireTable
  clients?: WireTable
  events?: WireTable
}

type Message = RowsMessage | { type: 'reset'; as_of: string } | { type: 'heartbeat'; as_of: string }

/** The collector sends at least a heartbeat every 10 s: a connection that is silent for longer is dead. */
const SILENCE_MS = 25_000
/** A hidden tab gives its connection back (a browser has six for each server) and resumes when it is looked at. */
const HIDDEN_MS = 20_000

export class LiveStream {
  #source: EventSource | null = null
  #since: string
  #attempt = 0
  #stopped = false
  #retry: ReturnType<typeof setTimeout> | undefined
  #silence: ReturnType<typeof setTimeout> | undefined
  #hide: ReturnType<typeof setTimeout> | undefined

  /** `onReset`: the store is another one now; the stream is closed and everything must be fetched again. */
  constructor(
    private readonly runId: string | null,
    since: string,
    private readonly onRows: (message: RowsMessage) => void,
    private readonly onReset: () => void,
  ) {
    this.#since = since
    document.addEventListener('visibilitychange', this.#visibility)
    addEventListener('online', this.#hurry)
    this.#open()
  }

  stop(): void {
    this.#stopped = true
    this.#close()
    clearTimeout(this.#hide)
    document.removeEventListener('visibilitychange', this.#visibility)
    removeEventListener('online', this.#hurry)
  }

  #open(): void {
    this.#close()
    if (this.#stopped) return
    const source = new EventSource(apiUrl('/stream', { run_id: this.runId, since: this.#since }))
    this.#source = source
    source.onopen = () => {
      this.#attempt = 0
      connection.found()
      this.#listen()
    }
    source.onmessage = (event: MessageEvent<string>) => this.#receive(JSON.parse(event.data) as Message)
    // The browser would reconnect by itself, but gives up for good at an answer that is no stream.
    source.onerror = () => void this.#failed()
    this.#listen()
  }

  #receive(message: Message): void {
    this.#listen()
    if (message.type === 'reset') {
      this.stop()
      this.onReset()
      return
    }
    this.#since = message.as_of
    if (message.type === 'rows') this.onRows(message)
  }

  async #failed(): Promise<void> {
    this.#close()
    const attempt = this.#attempt++
    try {
      if (attempt > 0) await api.status()
      else await new Promise((resolve) => setTimeout(resolve, 300))
    } catch (error) {
      connection.note(error)
    }
    if (this.#stopped || this.#source !== null || connection.loginWanted) return
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => this.#open(), backoff(attempt) * 1000)
  }

  #listen(): void {
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => void this.#failed(), SILENCE_MS)
  }

  #close(): void {
    this.#source?.close()
    this.#source = null
    clearTimeout(this.#retry)
    clearTimeout(this.#silence)
  }

  readonly #hurry = (): void => {
    if (this.#source === null && !document.hidden) this.#open()
  }

  readonly #visibility = (): void => {
    clearTimeout(this.#hide)
    if (document.hidden) this.#hide = setTimeout(() => this.#close(), HIDDEN_MS)
    else this.#hurry()
  }
}
