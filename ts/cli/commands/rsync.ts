import { Option } from 'commander'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { count, json, line, manner, say, shown } from '../output.ts'
import { pending, type RsyncOptions, type RsyncPlugin, type RsyncResult } from '../pending.ts'
import { withProgress } from '../progress.ts'
import { changing, reading, stoppable } from '../session.ts'

interface Options extends RsyncOptions {
  source?: string
  target?: string
  dry?: boolean
}

/** `coffer rsync` */
export function rsync(): Entry {
  const group = rules(new Entry('rsync'))
    .summary('keep a directory and a part of a coffer the same')
    .description(
      'Copies what has changed, from a directory into a coffer (push) or from a coffer into a directory (pull).',
    )
    .option('-s, --source <directory>', 'with -t: the same as push, as PyCoffer has it')
    .addOption(new Option('-t, --target <name>', 'with -s: the directory in the coffer'))
    .example('What would be done', 'coffer rsync push ~/documents documents --dry-run')
    .action(async (_: object, command: Entry) => {
      const { source, target, ...options } = command.opts<Options>()
      if (source === undefined || target === undefined)
        throw new UsageError('rsync push or rsync pull? See coffer rsync --help')
      await push(source, target, options, command)
    })
  rules(group.command('push'))
    .description('Brings a directory of the coffer to the state of a directory of the disk.')
    .argument('<directory>', 'the directory on the disk')
    .argument('<name>', 'the directory in the coffer')
    .example('Also delete what is gone', 'coffer rsync push ~/documents documents --delete')
    .action(push)
  rules(group.command('pull'))
    .description('Brings a directory of the disk to the state of a directory of the coffer.')
    .argument('<name>', 'the directory in the coffer')
    .argument('<directory>', 'the directory on the disk')
    .example('By contents rather than size and time', 'coffer rsync pull documents ~/documents --checksum')
    .action(pull)
  return group
}

function rules(command: Entry): Entry {
  return command
    .option('--checksum', 'compare contents, not sizes and times')
    .option('--delete', 'delete what is not in the source')
    .option('-n, --dry-run', 'only say what would be done')
    .addOption(new Option('--dry', 'the same, as PyCoffer has it').hideHelp())
    .option('--include <pattern...>', 'only what matches')
    .option('--exclude <pattern...>', 'leave out what matches')
    .addOption(
      new Option('--symlinks <what>', 'what to do with symbolic links').choices(['follow', 'skip', 'error']),
    ) as Entry
}

async function push(directory: string, name: string, _: object, command: Entry): Promise<void> {
  const options = command.optsWithGlobals<Options>()
  await report(options, (passed) =>
    changing(command, { create: true }, async (coffer) =>
      passed(await pending(coffer).plugin('rsync'), 'push', directory, name),
    ),
  )
}

async function pull(name: string, directory: string, _: object, command: Entry): Promise<void> {
  const options = command.optsWithGlobals<Options>()
  await report(options, (passed) =>
    reading(command, {}, async (coffer) => passed(await pending(coffer).plugin('rsync'), 'pull', name, directory)),
  )
}

type Passed = (plugin: RsyncPlugin, way: 'push' | 'pull', from: string, to: string) => Promise<RsyncResult>

async function report(options: Options, run: (passed: Passed) => Promise<RsyncResult>): Promise<void> {
  const { checksum, delete: deleting, include, exclude, symlinks } = options
  const dryRun = options.dryRun ?? options.dry
  const chosen = Object.entries({ checksum, delete: deleting, dryRun, include, exclude, symlinks }).filter(
    ([, value]) => value !== undefined,
  )
  const result = await run((plugin, way, from, to) =>
    withProgress('copying', (bar) =>
      plugin[way](from, to, { ...Object.fromEntries(chosen), onProgress: bar.update, ...stoppable }),
    ),
  )
  if (manner.json) return json(result)
  if (!manner.quiet) for (const { action, name } of result.actions) await line(`${action}  ${shown(name)}`)
  say(`${count(result.actions.length, 'change')}${dryRun ? ' would be made' : ''}`)
}
