import { expect, it } from 'vitest'
import { clientPath, machinePath, parsePath, runPath } from '../src/lib/route'

it.each(['plain', 'a/b', '50 %', 'ключ', '?q#h', '<script>', '%2F', 'run.with.dots'])('finds the run %j again by its path', (runId) => {
  expect(parsePath(runPath(runId))).toEqual({ page: 'run', runId })
  expect(parsePath(clientPath(runId, runId))).toEqual({ page: 'client', runId, clientId: runId })
  expect(parsePath(machinePath(runId))).toEqual({ page: 'machine', node: runId })
})

it('takes a trailing slash', () => {
  expect(parsePath('/')).toEqual({ page: 'runs' })
  expect(parsePath('/machines/')).toEqual({ page: 'machines' })
  expect(parsePath('/system/')).toEqual({ page: 'system' })
  expect(parsePath('/network')).toEqual({ page: 'network' })
  expect(parsePath('/runs/a/')).toEqual({ page: 'run', runId: 'a' })
})

it.each(['/nowhere', '/runs', '/runs/a/b', '/runs/%zz', '/runs/a/clients', '/machines/a/b', '/system/a', '/network/a'])('knows that %s is no page', (path) => {
  expect(parsePath(path)).toEqual({ page: 'unknown', path })
})
