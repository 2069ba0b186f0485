/** Where the devices of a network are drawn: always the same place for the same network, and what is linked stands close. */

export interface Point {
  x: number
  y: number
}

const STEPS = 240
/** Above this many devices, fewer steps: each one looks at all pairs. */
const PAIRS_AT_LEISURE = 150

/**
 * Places by id, around (0, 0), the wider way across. A step moves each device away from all others (1/distance)
 * and towards those it is linked to (distance²), less and less: Fruchterman and Reingold, 1991.
 */
export function layout(ids: readonly string[], pairs: readonly (readonly [string, string])[]): Map<string, Point> {
  const order = [...ids].sort()
  const index = new Map(order.map((id, i) => [id, i]))
  const edges = pairs.flatMap(([a, b]) => {
    const [i, j] = [index.get(a), index.get(b)]
    return i === undefined || j === undefined || i === j ? [] : [[i, j] as const]
  })
  const places = settle(spiral(order.length, edges), edges)
  const turned = lieDown(places)
  return new Map(order.map((id, i) => [id, turned[i]!]))
}

/** Where they begin: neighbours one after the other, on a sunflower's spiral. */
function spiral(n: number, edges: readonly (readonly [number, number])[]): Point[] {
  const near: number[][] = Array.from({ length: n }, () => [])
  for (const [i, j] of edges) {
    near[i]!.push(j)
    near[j]!.push(i)
  }
  const byDegree = Array.from({ length: n }, (_, i) => i).sort((a, b) => near[b]!.length - near[a]!.length || a - b)
  const queue: number[] = []
  const met = new Set<number>()
  for (const start of byDegree) {
    if (met.has(start)) continue
    met.add(start)
    queue.push(start)
    for (let at = queue.length - 1; at < queue.length; at++) {
      for (const next of near[queue[at]!]!.sort((a, b) => a - b)) {
        if (!met.has(next)) {
          met.add(next)
          queue.push(next)
        }
      }
    }
  }
  const places: Point[] = Array.from({ length: n }, () => ({ x: 0, y: 0 }))
  queue.forEach((i, rank) => {
    const angle = rank * 2.399963
    const radius = 0.7 * Math.sqrt(rank)
    places[i] = { x: radius * Math.cos(angle), y: radius * Math.sin(angle) }
  })
  return places
}

function settle(places: Point[], edges: readonly (readonly [number, number])[]): Point[] {
  const n = places.length
  const steps = n <= PAIRS_AT_LEISURE ? STEPS : Math.max(30, Math.round((STEPS * PAIRS_AT_LEISURE ** 2) / n ** 2))
  let heat = 0.12 * Math.sqrt(n)
  for (let step = 0; step < steps; step++) {
    const moves: Point[] = places.map(({ x, y }) => ({ x: -0.06 * x, y: -0.06 * y })) // parts that nothing links stay in sight
    for (let i = 0; i < n; i++) {
      for (let j = i + 1; j < n; j++) {
        const dx = places[i]!.x - places[j]!.x
        const dy = places[i]!.y - places[j]!.y
        const push = 1 / Math.max(dx * dx + dy * dy, 1e-4)
        moves[i]!.x += dx * push
        moves[i]!.y += dy * push
        moves[j]!.x -= dx * push
        moves[j]!.y -= dy * push
      }
    }
    for (const [i, j] of edges) {
      const dx = places[i]!.x - places[j]!.x
      const dy = places[i]!.y - places[j]!.y
      const pull = Math.hypot(dx, dy)
      moves[i]!.x -= dx * pull
      moves[i]!.y -= dy * pull
      moves[j]!.x += dx * pull
      moves[j]!.y += dy * pull
    }
    places.forEach((place, i) => {
      const { x, y } = moves[i]!
      const size = Math.hypot(x, y) || 1
      place.x += (x / size) * Math.min(size, heat)
      place.y += (y / size) * Math.min(size, heat)
    })
    heat *= 0.985
  }
  return places
}

/** Turned so that the longest way lies across: screens are wide. */
function lieDown(places: readonly Point[]): Point[] {
  const n = places.length || 1
  const cx = places.reduce((sum, { x }) => sum + x, 0) / n
  const cy = places.reduce((sum, { y }) => sum + y, 0) / n
  let [xx, yy, xy] = [0, 0, 0]
  for (const { x, y } of places) {
    xx += (x - cx) ** 2
    yy += (y - cy) ** 2
    xy += (x - cx) * (y - cy)
  }
  const angle = -0.5 * Math.atan2(2 * xy, xx - yy)
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  return places.map(({ x, y }) => ({ x: (x - cx) * cos - (y - cy) * sin, y: (x - cx) * sin + (y - cy) * cos }))
}

/** Pixels between linked devices at most: a network of three need not fill the screen. */
const WIDEST_PX = 230

/** Brought into a frame of this size, at least the margins from its edges and in its middle. */
export function fit(places: ReadonlyMap<string, Point>, width: number, height: number, marginX: number, marginY: number): Map<string, Point> {
  const all = [...places.values()]
  const along = (of: (point: Point) => number, size: number, margin: number): ((value: number) => number) => {
    const values = all.map(of)
    const [low, high] = [Math.min(...values), Math.max(...values)]
    const scale = high - low < 1e-9 ? 0 : Math.min(WIDEST_PX, (size - 2 * margin) / (high - low))
    return (value) => size / 2 + (value - (low + high) / 2) * scale
  }
  const toX = along(({ x }) => x, width, marginX)
  const toY = along(({ y }) => y, height, marginY)
  return new Map([...places].map(([id, { x, y }]) => [id, { x: toX(x), y: toY(y) }]))
}

/** Places for `n` hosts of the device at `at`: a fan that opens away from the device's neighbours. */
export function fan(n: number, at: Point, neighbours: readonly Point[], radius: number): Point[] {
  const towards = neighbours.reduce(
    (sum, { x, y }) => {
      const far = Math.hypot(x - at.x, y - at.y) || 1
      return { x: sum.x + (x - at.x) / far, y: sum.y + (y - at.y) / far }
    },
    { x: 0, y: 0 },
  )
  const middle = Math.hypot(towards.x, towards.y) < 1e-6 ? Math.PI / 2 : Math.atan2(-towards.y, -towards.x)
  const step = Math.min(0.62, (neighbours.length === 0 ? 2 * Math.PI : 1.3 * Math.PI) / Math.max(1, n))
  return Array.from({ length: n }, (_, i) => {
    const angle = middle + (i - (n - 1) / 2) * step
    return { x: at.x + radius * Math.cos(angle), y: at.y + radius * Math.sin(angle) }
  })
}
