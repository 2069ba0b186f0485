/** The address bar: which page is shown, and the view's state in its query. */

import { parsePath, type Route } from './route'

let path = $state(location.pathname)
let search = $state(location.search)
const route: Route = $derived(parsePath(path))

export function currentRoute(): Route {
  return route
}

export function navigate(to: string): void {
  if (to === location.pathname + location.search) return
  history.pushState(null, '', to)
  follow()
  scrollTo(0, 0)
}

/** A parameter of the query, or the fallback. */
export function param(name: string, fallback = ''): string {
  return new URLSearchParams(search).get(name) ?? fallback
}

/** Keeps the view's state in the address without a new entry in the history; "" removes it. */
export function setParams(values: Record<string, string>): void {
  const query = new URLSearchParams(location.search)
  for (const [name, value] of Object.entries(values)) {
    if (value === '') query.delete(name)
    else query.set(name, value)
  }
  const text = query.toString()
  history.replaceState(null, '', location.pathname + (text ? `?${text}` : ''))
  search = location.search
}

function follow(): void {
  path = location.pathname
  search = location.search
}

/** Call once: takes over the clicks on links within the dashboard, and the browser's back and forward. */
export function startRouter(): void {
  addEventListener('popstate', follow)
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = event.target instanceof Element ? event.target.closest('a') : null
    if (!link || link.target || link.origin !== location.origin || link.pathname.startsWith('/api')) return
    event.preventDefault()
    navigate(link.pathname + link.search)
  })
}
