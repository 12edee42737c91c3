// @ts-check
/** Checks with cargo-deny where crates come from, under which licences, and which are unwanted. Advisories: `npm run audit`. */
import { spawnSync } from 'node:child_process'
import { SKIPPED } from './checks.mjs'
import { root, run } from './prepare.mjs'

if (spawnSync('cargo', ['deny', '--version'], { cwd: root }).status !== 0) {
  console.log('There is no cargo-deny: skipped. `cargo install --locked cargo-deny` installs it.')
  process.exit(SKIPPED)
}
process.exit(run('cargo', ['deny', '--locked', 'check', 'licenses', 'bans', 'sources']) ? 0 : 1)
