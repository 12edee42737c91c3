// @ts-check
/**
 * `npm test`: every check and every suite, and at the end what took longest and how many tests passed. `npm run
 * test:package` is the suite of the packed packages alone.
 *
 * The addon is compiled once, as it is packed, and the suites of the package run on it. The tests of the crates are
 * compiled and run beside that, in the background: they take what the suites leave of the processor.
 */
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { compiled, textual, typed } from './checks.mjs'
import { check, part, report, show, took } from './parts.mjs'
import { ensureBuilt, ensureInstalled, installed, isInstalled, root } from './prepare.mjs'

const node = process.execPath

ensureInstalled()
mkdirSync(join(root, 'target'), { recursive: true })
if (process.argv.includes('--package')) {
  ensureInstalled('test/package')
  // The setup builds and packs, unless there are packages already; then the facade alone is wanted.
  if (process.env['COFFER_PACKAGES'] !== undefined) ensureBuilt()
  await vitest('package')
} else {
  await Promise.all([crates(), packages()])
}
const { passed, failed, skipped } = report()
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0

/** The facade, its suites, and those of the packages. */
async function packages() {
  const ready = Promise.all([installPackageTests(), python(), check(textual)])
  await part('build', () => command('build', [node, 'scripts/build.mjs', '--packed']))
  await ready
  await Promise.all([check(typed), vitest('suites')])
  await vitest('package')
}

async function installPackageTests() {
  if (isInstalled('test/package')) return
  await part('npm', () => command('npm', ['npm', 'ci', '--prefix', 'test/package']))
}

/** The Python that the suites use. */
function python() {
  return part('python', () => command('python', [node, 'scripts/python-env.mjs']))
}

/**
 * A command that only counts when it fails.
 *
 * @param {string} name
 * @param {readonly [command: string, ...args: string[]]} line
 */
async function command(name, line) {
  return { failed: (await show(name, line)) === 0 ? 0 : 1 }
}

/** The tests of the crates, and what else compiles them. */
async function crates() {
  /** @type {TestBinary[]} */
  let binaries = []
  await part('test build', async () => {
    const build = await testBinaries()
    binaries = build.binaries
    // Crates that have no test binary have lost their tests.
    return { failed: build.ok && binaries.length > 0 ? 0 : 1 }
  })
  await Promise.all([...binaries.map(testBinary), documentedExamples().then(() => check(compiled))])
}

/** @typedef {{ name: string, executable: string, cwd: string }} TestBinary */

/** Compiles the tests of the crates. */
async function testBinaries() {
  /** @type {TestBinary[]} */
  const binaries = []
  const line = /** @type {const} */ ([
    'cargo',
    ...['test', '--workspace', '--locked', '--no-run', '--message-format', 'json-render-diagnostics'],
  ])
  const code = await show('test build', line, {
    background: true,
    silent: true,
    onLine: (text) => {
      const { target, executable, manifest_path: manifest, profile } = JSON.parse(text)
      if (!executable || !profile?.test) return
      const cwd = dirname(manifest)
      binaries.push({ name: `cargo test ${relative(join(root, 'crates'), cwd)} ${target.kind[0]}`, executable, cwd })
    },
  })
  return { ok: code === 0, binaries }
}

/**
 * Runs the tests of one binary, counted from its last line.
 *
 * @param {TestBinary} binary
 */
function testBinary({ name, executable, cwd }) {
  return part(name, async () => {
    /** @type {RegExpExecArray | null} */
    let counts = null
    const timed = /** @type {import('./parts.mjs').Timed[]} */ ([])
    const code = await show(name, [executable, '-Zunstable-options', '--report-time'], {
      background: true,
      cwd,
      // Only so does a stable toolchain report the time of each test.
      env: { RUSTC_BOOTSTRAP: '1' },
      onLine: (line) => {
        counts = /^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored/.exec(line) ?? counts
        const [, test, seconds] = /^test (\S+) .*<([\d.]+)s>$/.exec(line) ?? []
        if (test !== undefined) timed.push({ name: `${name} ${test}`, seconds: Number(seconds) })
      },
    })
    took('tests', timed)
    return counted(counts, code)
  })
}

/** The examples in the comments of the crates. */
function documentedExamples() {
  return part('cargo test --doc', async () => {
    const sum = { passed: 0, failed: 0, skipped: 0 }
    const code = await show('cargo test --doc', ['cargo', 'test', '--workspace', '--doc', '--locked'], {
      background: true,
      onLine: (line) => {
        const [, passed = 0, failed = 0, ignored = 0] =
          /^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored/.exec(line) ?? []
        sum.passed += Number(passed)
        sum.failed += Number(failed)
        sum.skipped += Number(ignored)
      },
    })
    return { ...sum, failed: code === 0 ? sum.failed : Math.max(sum.failed, 1) }
  })
}

/**
 * @param {RegExpExecArray | null} counts what libtest's last line says
 * @param {number | null} code
 */
function counted(counts, code) {
  const [, passed = 0, failed = 0, ignored = 0] = counts ?? []
  // What does not end well, or without that line, has failed, whatever it counted.
  const ended = code === 0 && counts !== null
  return {
    passed: Number(passed),
    failed: ended ? Number(failed) : Math.max(Number(failed), 1),
    skipped: Number(ignored),
  }
}

/**
 * The suites of a configuration, counted and timed from vitest's own report.
 *
 * @param {'suites' | 'package'} which
 */
function vitest(which) {
  const config = which === 'package' ? 'test/package/vitest.config.ts' : 'vitest.config.ts'
  const report = join(root, 'target', `vitest-${which}.json`)
  rmSync(report, { force: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  return part(which, async () => {
    const code = await show(which, [node, installed('vitest/vitest.mjs'), 'run', '--config', config, ...reporters])
    try {
      const { testResults, ...counts } = JSON.parse(readFileSync(report, 'utf8'))
      timeSuites(testResults)
      // A file that fails before its first test, by an import for example, has no tests to count.
      const empty = testResults.filter(
        (/** @type {any} */ file) => file.status === 'failed' && file.assertionResults.length === 0,
      )
      const failed = counts.numFailedTests + empty.length
      return {
        passed: counts.numPassedTests,
        failed: code === 0 ? failed : Math.max(failed, 1),
        skipped: counts.numPendingTests + counts.numTodoTests,
      }
    } catch {
      console.error(`${which} | vitest left no report`)
      return { failed: 1 }
    }
  })
}

/** @param {any[]} files the results of vitest */
function timeSuites(files) {
  for (const { name, startTime, endTime, assertionResults } of files) {
    const suite = relative(root, name)
    took('suites', [{ name: suite, seconds: (endTime - startTime) / 1000 }])
    took(
      'tests',
      assertionResults.map((/** @type {any} */ { fullName, duration }) => ({
        name: `${suite} ${fullName}`,
        seconds: (duration ?? 0) / 1000,
      })),
    )
  }
}
