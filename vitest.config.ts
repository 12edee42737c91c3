import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The suites that take longest, which begin first, so that none of them is left alone at the end. */
const slow = [
  'soak',
  'interop/pycoffer',
  'streams',
  'trees',
  'deleted',
  'kill',
  'cli/commands',
  'cli/plugins',
  'cost',
  'torn',
  'codes',
]

class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const at = slow.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`))
      return at < 0 ? slow.length : at
    }
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}

export default defineConfig({
  // The package as its users import it.
  resolve: { alias: { coffer: fileURLToPath(new URL('./dist/index.js', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    // These have a configuration of their own: they are about what is packed.
    exclude: ['test/package/**'],
    globalSetup: 'scripts/python-env.mjs',
    // What is built runs as it is, not transformed.
    server: { deps: { external: [/\/dist\//] } },
    // By default vitest leaves one core unused, which is every second one on a small machine.
    maxWorkers: availableParallelism(),
    minWorkers: 1,
    sequence: { sequencer: SlowFirst },
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
