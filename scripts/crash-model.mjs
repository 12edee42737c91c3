// @ts-check
/** `npm run crash-model -- 0..10000`: the crash model of the engine with as many seeds as are asked for. */
import { spawnSync } from 'node:child_process'
import { root } from './prepare.mjs'

const [seeds = '0..10000'] = process.argv.slice(2)
if (!/^\d+\.\.\d+$/.test(seeds)) {
  console.error(`${seeds} is no range of seeds: it is from..to, as in 0..10000`)
  process.exit(2)
}
const model = 'model_test::a_coffer_on_a_disk_that_crashes_is_like_a_map'
const { status } = spawnSync('cargo', ['test', '--locked', '-p', 'coffer-core', '--lib', '--', model], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, COFFER_MODEL_SEEDS: seeds },
})
process.exit(status ?? 1)
