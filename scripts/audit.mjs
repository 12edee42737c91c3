// @ts-check
/**
 * `npm run audit`, a step of every release: what others have found in the crates and packages that Coffer is made of.
 * It needs the network, for both databases of advisories. That one of them cannot be reached is a failure.
 */
import { spawnSync } from 'node:child_process'
import { root } from './prepare.mjs'

/** @type {readonly [name: string, command: string, args: readonly string[]][]} */
const steps = [
  ['the crates', 'cargo', ['deny', 'check']],
  ['the packages that users get', 'npm', ['audit', '--omit=dev']],
  ['all packages', 'npm', ['audit']],
]

const failed = steps.filter(([name, command, args]) => !passes(name, command, args)).map(([name]) => name)
if (failed.length > 0) {
  console.error(`\nfailed: ${failed.join(', ')}`)
  process.exit(1)
}
console.log('\nnothing is known against any of them')

/**
 * @param {string} name
 * @param {string} command
 * @param {readonly string[]} args
 */
function passes(name, command, args) {
  console.log(`\n== ${name}: ${command} ${args.join(' ')}`)
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    // npm is a script on Windows, which only a shell can start.
    shell: process.platform === 'win32',
  })
  console.log(`${stdout}${stderr}`)
  if (error) console.error(`${command} cannot be run: ${error.message}`)
  else if (/failed to fetch advisory database|audit endpoint returned an error|ENOTFOUND|ECONNREFUSED/.test(stderr)) {
    console.error('The database of advisories cannot be reached, so nothing has been checked.')
  }
  return status === 0
}
