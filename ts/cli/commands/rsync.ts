import { Option } from 'commander'
import type { PullOptions, PushOptions, RsyncOptions, RsyncResult } from '../../plugins/rsync.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { memberName } from '../names.ts'
import { changing, reading, stoppable } from '../session.ts'
import { count, json, line, manner, say, shown } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'
import { leftOut } from '../terminal/skipped.ts'

interface Options extends PushOptions, PullOptions {
  source?: string
  target?: string
  dry?: boolean
}

/** `coffer rsync` */
export function rsync(): Entry {
  const group = links(rules(new Entry('rsync')))
    .summary('synchronize a directory and a part of a coffer')
    .description('Copies changes from a directory to a coffer (push) or from a coffer to a directory (pull).')
    .option('-s, --source <directory>', 'with -t: the same as push, as PyCoffer has it')
    .addOption(new Option('-t, --target <name>', 'with -s: the directory in the coffer'))
    .example('What would be done', 'coffer rsync push ~/documents documents --dry-run')
    .action(async (_: object, command: Entry) => {
      const { source, target, ...options } = command.opts<Options>()
      if (source === undefined || target === undefined)
        throw new UsageError('rsync push or rsync pull? See coffer rsync --help')
      await push(source, target, options, command)
    })
  links(rules(group.command('push')))
    .description('Makes a directory of the coffer like a directory on the disk.')
    .argument('<directory>', 'the directory on the disk')
    .argument('<name>', 'the directory in the coffer; . is the whole coffer')
    .example('Also delete what is gone', 'coffer rsync push ~/documents documents --delete')
    .action(push)
  rules(group.command('pull'))
    .description('Makes a directory on the disk like a directory of the coffer.')
    .argument('<name>', 'the directory in the coffer; . is the whole coffer')
    .argument('<directory>', 'the directory on the disk')
    .option('-p, --preserve', 'compare modes, and set them regardless of the umask')
    .example('By contents rather than size and time', 'coffer rsync pull documents ~/documents --checksum')
    .action(pull)
  return group
}

function rules(command: Entry): Entry {
  return command
    .option('--plugins', 'also records of plugins, such as passwords, below .plugins')
    .option('--checksum', 'compare contents, not sizes and times')
    .option('--delete', 'delete paths that are not in the source')
    .option('-n, --dry-run', 'only print what would be done')
    .addOption(new Option('--dry', 'the same, as PyCoffer has it').hideHelp())
    .option('--include <pattern...>', 'only matching paths; patterns as in .gitignore')
    .option('--exclude <pattern...>', 'leave out matching paths; patterns as in .gitignore') as Entry
}

function links(command: Entry): Entry {
  return command.addOption(
    new Option('--symlinks <what>', 'the treatment of symbolic links').choices(['follow', 'skip', 'error']),
  ) as Entry
}

async function push(directory: string, name: string, _: object, command: Entry): Promise<void> {
  const options = command.optsWithGlobals<Options>()
  const { symlinks } = options
  const result = await changing(command, { create: true }, (coffer) =>
    withProgress('copying', async (bar) => {
      const rsync = await coffer.plugin('rsync')
      return rsync.push(directory, top(name), { ...chosen(options), symlinks, onProgress: bar.update, ...stoppable })
    }),
  )
  await report(result, options)
}

async function pull(name: string, directory: string, _: object, command: Entry): Promise<void> {
  const options = command.optsWithGlobals<Options>()
  const result = await reading(command, {}, (coffer) =>
    withProgress('copying', async (bar) => {
      const rsync = await coffer.plugin('rsync')
      return rsync.pull(top(name), directory, {
        ...chosen(options),
        preserve: options.preserve ?? false,
        onProgress: bar.update,
        ...stoppable,
      })
    }),
  )
  await report(result, options)
}

/** The name for the API: `.` on the command line is the empty name, the whole coffer. */
function top(name: string): string {
  const plain = memberName(name)
  return plain === '.' ? '' : plain
}

function chosen({ checksum, delete: deleting, dryRun, dry, include, exclude, plugins }: Options): RsyncOptions {
  return { plugins, checksum, delete: deleting, dryRun: dryRun ?? dry, include, exclude }
}

async function report(result: RsyncResult, { dryRun, dry }: Options): Promise<void> {
  leftOut(result.skipped)
  if (manner.json) return json(result)
  if (!manner.quiet) for (const { action, name } of result.actions) await line(`${action}  ${shown(name)}`)
  say(`${count(result.actions.length, 'change')}${(dryRun ?? dry) ? ' would be made' : ''}`)
}
