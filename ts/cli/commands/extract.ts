import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { memberName, memberNames } from '../names.ts'
import { reading, stoppable } from '../session.ts'
import { bytes, count, json, manner, say } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'
import { size } from '../terminal/size.ts'
import { leftOut } from '../terminal/skipped.ts'

interface Options {
  to?: string
  path?: string
  overwrite?: boolean
  preserve?: boolean
  all?: boolean
  member?: string
  from?: string
  legacy?: boolean
  plugins?: boolean
  maxMemberSize?: number
  maxTotalSize?: number
  maxCatalogSize?: number
}

/** `coffer extract` */
export function extract(): Entry {
  return new Entry('extract')
    .summary('write members to files')
    .description(
      'Writes members, and directories with all that is below them, to files below a directory; everything if none is named. Files that exist are never overwritten unless told.',
    )
    .argument('[members...]', 'members and directories')
    .option('--to <directory>', 'where they go; here by default')
    .option('--overwrite', 'replace files that exist')
    .option('--preserve', 'set modes as they are in the coffer, whatever the umask is')
    .option('--from <directory>', 'a directory of the coffer whose name is left out of the paths')
    .option('--all', 'everything, as without members')
    .option('-i, --member <name>', 'the same as an argument, as PyCoffer has it')
    .option('-p, --path <directory>', 'the same as --to, as PyCoffer has it')
    .option('--max-member-size <size>', 'write nothing if a file has more: bytes, or 5MB, 2GiB', size)
    .option('--max-total-size <size>', 'write nothing if all files together have more', size)
    .option('--max-catalog-size <size>', 'write nothing if the list of members has more, uncompressed', size)
    .option('--plugins', 'also what plugins keep, such as passwords, below .plugins')
    .option('--legacy', 'accept a coffer that PyCoffer wrote')
    .example('Everything, into a directory', 'coffer extract --to restored')
    .example('One directory, in place of what is there', 'coffer extract reports/2024 --overwrite')
    .action(async (args: string[], options: Options, command: Entry) => {
      const members = options.member === undefined ? args : [options.member, ...args]
      if (options.all && members.length > 0) throw new UsageError('--all and names of members exclude each other')
      const names = memberNames(members)
      const to = options.to ?? options.path ?? '.'
      const { maxMemberSize, maxTotalSize } = options
      const limits = {
        ...(maxMemberSize === undefined ? {} : { maxMemberSize }),
        ...(maxTotalSize === undefined ? {} : { maxTotalSize }),
      }
      const extracted = await reading(command, { ...options, ...limits }, (coffer) =>
        withProgress('extracting', (bar) =>
          coffer.extractAll(to, {
            ...(names === undefined ? { plugins: options.plugins ?? false } : { members: names }),
            ...(options.overwrite ? {} : { replace: false }),
            preserve: options.preserve ?? false,
            ...(options.from === undefined || memberName(options.from) === '.'
              ? {}
              : { from: memberName(options.from) }),
            ...limits,
            onProgress: bar.update,
            ...stoppable,
          }),
        ),
      )
      leftOut(extracted.skipped)
      if (manner.json) return json(extracted)
      say(`extracted ${count(extracted.files, 'file')}, ${bytes(extracted.bytes)}, to ${to}`)
    })
}
