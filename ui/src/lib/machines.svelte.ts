/** Machines that are measured: kept up to date for as long as somebody looks. */

import { api } from './api'
import { connection } from './connection.svelte'
import { Latest } from './latest.svelte'
import { SAMPLES_MS } from './resources'
import type { Node } from './types'

const ALL_BUT_KEYS = 'run_id,client_id,journal,first_ts,last_ts,num_samples,cpu_pct,cpu_cores,ram_mb,memory_pct,gpu_util_pct,gpu_vram_mb,power_w'

export class MachineList {
  #feed: Latest<Node[]>
  #timer: ReturnType<typeof setInterval>

  /** `node`: of this name only, a source's too, and with every key that was measured. */
  constructor(node: string | null = null) {
    const query = node === null ? { role: 'monitor', fields: ALL_BUT_KEYS } : { node }
    this.#feed = new Latest(async () => (await api.nodes(query)).rows, 0)
    this.#timer = setInterval(() => this.#feed.changed(), SAMPLES_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#feed.stop()
  }

  /** The most lately heard of first; null until they are known. */
  get nodes(): Node[] | null {
    return this.#feed.value
  }

  get loaded(): boolean {
    return this.#feed.loaded
  }
}

/** How often is looked whether there is a first machine. */
const LOOK_MS = 20_000

let known = $state(false)

/** Whether there is any machine to show. */
export function anyMachine(): boolean {
  return known
}

/** Looks for one until there is one; returns how to end that. */
export function lookForMachines(): () => void {
  const look = async (): Promise<void> => {
    if (known || document.hidden || connection.loginWanted) return
    try {
      known = (await api.nodes({ role: 'monitor', fields: 'node' }, 1)).rows.length > 0
    } catch (error) {
      connection.note(error)
    }
  }
  void look()
  const timer = setInterval(() => void look(), LOOK_MS)
  return () => clearInterval(timer)
}
