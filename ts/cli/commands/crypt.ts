import { createReadStream, existsSync } from 'node:fs'
import type { Transform, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Option } from 'commander'
import type { CryptPlugin } from '../../plugins/crypt.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { reading, stoppable } from '../session.ts'
import { takeInput } from '../terminal/input.ts'
import { interrupted } from '../terminal/interrupt.ts'
import { json, manner, say } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'

interface Options {
  source?: string
  target?: string
  overwrite?: boolean
  level?: number
  legacy?: boolean
}

/** `coffer crypt` */
export function crypt(): Entry {
  return files(new Entry('crypt'))
    .summary('encrypt a file outside the coffer')
    .description("Encrypts a file outside the coffer with the coffer's keys.")
    .addOption(new Option('--level <level>', 'the zstd level, from 1 to 22').argParser(Number))
    .example('A file', 'coffer crypt letter.txt letter.txt.sealed')
    .example('On the way to another machine', 'tar c photos | coffer crypt - - | ssh host "cat > photos.sealed"')
    .action(async (source: string | undefined, target: string | undefined, options: Options, command: Entry) => {
      const { level } = options
      await run(command, source, target, options, 'encrypting', (plugin, from, to, watch) => {
        const how = level === undefined ? {} : { level }
        if (from === '-' || to === '-') return [plugin.createEncryptStream(how)]
        return plugin.encrypt(from, to, { ...how, ...watch })
      })
    })
}

/** `coffer decrypt` */
export function decrypt(): Entry {
  return files(new Entry('decrypt'))
    .summary('decrypt a file outside the coffer')
    .description('Decrypts a file that crypt has encrypted.')
    .option('--legacy', 'accept a file that PyCoffer wrote')
    .example('A file', 'coffer decrypt letter.txt.sealed letter.txt')
    .action(async (source: string | undefined, target: string | undefined, options: Options, command: Entry) => {
      const legacy = options.legacy === undefined ? {} : { legacy: options.legacy }
      await run(command, source, target, options, 'decrypting', (plugin, from, to, watch) => {
        if (from === '-' || to === '-') return [plugin.createDecryptStream(legacy)]
        return plugin.decrypt(from, to, { ...legacy, ...watch })
      })
    })
}

function files(command: Entry): Entry {
  return command
    .argument('[from]', 'the file to read; - is standard input')
    .argument('[to]', 'the file to write; - is standard output')
    .option('-s, --source <file>', 'the same as the first argument, as PyCoffer has it')
    .option('-t, --target <file>', 'the same as the second argument, as PyCoffer has it')
    .option('--overwrite', 'replace an existing file') as Entry
}

type Work = (plugin: CryptPlugin, from: string, to: string, watch: object) => [stream: Transform] | Promise<unknown>

async function run(
  command: Entry,
  first: string | undefined,
  second: string | undefined,
  { source, target, overwrite }: Options,
  label: string,
  work: Work,
): Promise<void> {
  const from = first ?? source
  const to = second ?? target
  if (from === undefined || to === undefined) throw new UsageError('name the file to read and the file to write')
  if (to === '-' && process.stdout.isTTY)
    throw new UsageError('encrypted or decrypted data is not written to a terminal: redirect standard output to a file')
  if (to !== '-' && !overwrite && existsSync(to))
    throw new UsageError(`${to} is there already: --overwrite replaces it`)
  await reading(command, {}, async (coffer) => {
    await using plugin = await coffer.plugin('crypt')
    await withProgress(label, async (bar) => {
      const done = work(plugin, from, to, { replace: overwrite ?? false, onProgress: bar.update, ...stoppable })
      if (Array.isArray(done)) await convert(plugin, from, done[0], to, overwrite ?? false)
      else await done
    })
  })
  if (to === '-') return
  if (manner.json) return json({ from, to })
  say(`${label === 'encrypting' ? 'encrypted' : 'decrypted'} ${from} to ${to}`)
}

/** Converts by a stream, if one end is standard input or output. */
async function convert(
  plugin: CryptPlugin,
  from: string,
  through: Transform,
  to: string,
  replace: boolean,
): Promise<void> {
  const input = from === '-' ? takeInput('the file to read') : createReadStream(from)
  const output: Writable = to === '-' ? process.stdout : plugin.createTargetStream(to, { replace })
  try {
    await pipeline(input, through, output, { signal: interrupted, end: to !== '-' })
  } catch (error) {
    throw interrupted.aborted ? interrupted.reason : error
  }
}
