/** Whether there is any network to show. */

import { api } from './api'
import { connection } from './connection.svelte'

const LOOK_MS = 20_000
let known = $state(false)

export function anyNetwork(): boolean {
  return known
}

/** Looks for one until there is one; returns how to end that. */
export function lookForNetworks(): () => void {
  const look = async (): Promise<void> => {
    if (known || document.hidden || connection.loginWanted) return
    try {
      const { topology, last_update } = await api.networkMetrics('7d')
      known = topology.devices !== null || last_update !== null
    } catch (error) {
      connection.note(error)
    }
  }
  void look()
  const timer = setInterval(() => void look(), LOOK_MS)
  return () => clearInterval(timer)
}
