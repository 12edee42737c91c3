// @ts-check
/**
 * The fuzz targets; docs/testing.md says what they are. It needs cargo-fuzz and a nightly toolchain.
 *
 *     npm run fuzz                          each target for 20 minutes
 *     npm run fuzz -- run 60 open crypt     these for a minute
 *     npm run fuzz -- keep                  brings what was found to reach more into the corpus
 *     npm run fuzz -- seeds                 makes the seeds anew
 *
 * A finding is left in `fuzz/artifacts`, and inputs that reach something new in `target/fuzz`.
 */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from './prepare.mjs'

/** What an execution may take: seconds, and MiB in all and at once. A thread that is just ending is no leak. */
const limits = ['-timeout=60', '-rss_limit_mb=3000', '-malloc_limit_mb=600', '-detect_leaks=0']
const all = readdirSync(join(root, 'fuzz', 'fuzz_targets')).map((file) => file.replace(/\.rs$/, ''))

const [what = 'run', ...rest] = process.argv.slice(2)
if (what === 'seeds') {
  process.exit(run('cargo', ['test', '-p', 'coffer-core', '--lib', 'fuzz::seeds', '--', '--ignored']) ? 0 : 1)
}
const seconds = what === 'run' ? Number(rest.shift() ?? 1200) : 0
const targets = rest.length > 0 ? rest : all
if (!['run', 'keep'].includes(what) || Number.isNaN(seconds) || targets.some((target) => !all.includes(target))) {
  console.error(`usage: npm run fuzz -- [run [seconds] | keep | seeds] [${all.join(' | ')} …]`)
  process.exit(2)
}

const failed = targets.filter((target) => !(what === 'run' ? search(target) : keep(target)))
if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`)
process.exit(failed.length > 0 ? 1 : 0)

/**
 * Runs a target from its corpus on.
 *
 * @param {string} target
 */
function search(target) {
  console.log(`\n== ${target}, ${seconds} s`)
  const found = join(root, 'target', 'fuzz', target)
  mkdirSync(found, { recursive: true })
  return cargoFuzz('run', target, found, corpus(target), '--', `-max_total_time=${seconds}`, ...limits)
}

/**
 * Reduces the corpus and what was found to inputs that reach as much, small ones first.
 *
 * @param {string} target
 */
function keep(target) {
  console.log(`\n== ${target}`)
  const found = join(root, 'target', 'fuzz', target)
  mkdirSync(found, { recursive: true })
  const merged = mkdtempSync(join(root, 'target', 'fuzz', 'kept-'))
  const merge = ['--', '-merge=1', '-set_cover_merge=1', '-max_len=20000', '-use_counters=0', ...limits]
  if (!cargoFuzz('run', target, merged, corpus(target), found, ...merge)) return false
  rmSync(corpus(target), { recursive: true })
  renameSync(merged, corpus(target))
  rmSync(found, { recursive: true })
  return true
}

/** @param {string} target */
function corpus(target) {
  return join(root, 'fuzz', 'corpus', target)
}

/** @param {string[]} args */
function cargoFuzz(...args) {
  return run('cargo', ['+nightly', 'fuzz', ...args])
}
