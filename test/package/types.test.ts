import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { compile } from '../support/types.ts'

/** The oldest compiler that is supported, and one between it and the newest, which test/types.test.ts has. */
describe('the types with older compilers', () => {
  it.each([
    { name: 'typescript-5.4', module: 'NodeNext', resolution: 'NodeNext', dom: false },
    { name: 'typescript-5.4', module: 'ESNext', resolution: 'Bundler', dom: false },
    { name: 'typescript-5.9', module: 'NodeNext', resolution: 'NodeNext', dom: true },
  ])('hold with $name, $resolution', async ({ name, ...settings }) => {
    const compiler = fileURLToPath(new URL(`node_modules/${name}`, import.meta.url))
    expect(await compile({ compiler, ...settings })).toBe('')
  })
})
