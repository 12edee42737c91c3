import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { path, report } from '../scripts/api-report.mjs'

it('the report of the public API is that of the declarations: `npm run api-report` writes it', () => {
  expect(report()).toBe(readFileSync(path, 'utf8'))
})
