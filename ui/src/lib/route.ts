/** Paths of the dashboard, both ways. */

export type Route =
  | { page: 'runs' }
  | { page: 'run'; runId: string }
  | { page: 'client'; runId: string; clientId: string }
  | { page: 'machines' }
  | { page: 'machine'; node: string }
  | { page: 'network' }
  | { page: 'system' }
  | { page: 'unknown'; path: string }

/** What page a path stands for. Ids are decoded after the path is split: they may hold slashes. */
export function parsePath(path: string): Route {
  const parts = path.split('/').filter((part) => part !== '')
  const ids = parts.map(decode)
  if (parts.length === 0) return { page: 'runs' }
  const [runId, clientId] = [ids[1], ids[3]]
  if (parts.length === 1 && (parts[0] === 'network' || parts[0] === 'system')) return { page: parts[0] }
  if (parts[0] === 'machines') {
    if (parts.length === 1) return { page: 'machines' }
    if (parts.length === 2 && ids[1] != null) return { page: 'machine', node: ids[1] }
  }
  if (parts[0] === 'runs' && runId != null) {
    if (parts.length === 2) return { page: 'run', runId }
    if (parts.length === 4 && parts[2] === 'clients' && clientId != null) return { page: 'client', runId, clientId }
  }
  return { page: 'unknown', path }
}

function decode(part: string): string | null {
  try {
    return decodeURIComponent(part)
  } catch {
    return null // "%" followed by no number: somebody typed it
  }
}

export const runPath = (runId: string): string => `/runs/${encodeURIComponent(runId)}`

export const clientPath = (runId: string, clientId: string): string =>
  `${runPath(runId)}/clients/${encodeURIComponent(clientId)}`

export const machinePath = (node: string): string => `/machines/${encodeURIComponent(node)}`
