import { expect, it } from 'vitest'
import { clientPath, parsePath, runPath } from '../src/lib/route'

it.each(['plain', 'a/b', '50 %', 'ключ', '?q#h', '<script>', '%2F', 'run.with.dots'])('finds the run %j again by its path', (runId) => {
  expect(parsePath(runPath(runId))).toEqual({ page: 'run', runId })
  expect(parsePath(clientPath(runId, runId))).toEqual({ page: 'client', runId, clientId: runId })
})

it('takes a trailing slash', () => {
  expect(parsePath('/')).toEqual({ page: 'runs' })
  expect(parsePath('/runs/a/')).toEqual({ page: 'run', runId: 'a' })
})

it.each(['/nowhere', '/runs', '/runs/a/b', '/runs/%zz', '/runs/a/clients'])('knows that %s is no page', (path) => {
  expect(parsePath(path)).toEqual({ page: 'unknown', path })
})
