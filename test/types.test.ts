import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { compile } from './support/types.ts'

const compiler = fileURLToPath(new URL('../node_modules/typescript', import.meta.url))

describe('the types, under the strictest settings: what is documented compiles, and no misuse does', () => {
  it.each([
    { module: 'NodeNext', resolution: 'NodeNext', dom: true },
    { module: 'Node16', resolution: 'Node16', dom: false },
    { module: 'ESNext', resolution: 'Bundler', dom: true },
  ])('with module resolution $resolution', async (settings) => {
    expect(await compile({ compiler, ...settings })).toBe('')
  })
})
