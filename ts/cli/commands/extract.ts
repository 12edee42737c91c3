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
      'Writes members, and directories with everything below them, to files below a directory; all members if none is named. Existing files are not overwritten without --overwrite.',
    )
    .argument('[members...]', 'members and directories')
    .option('--to <directory>', 'the target directory; the current one by default')
    .option('--overwrite', 'replace existing files')
    .option('--preserve', 'set modes exactly as in the coffer, regardless of the umask')
    .option('--from <directory>', 'the directory of the coffer that paths are relative to')
    .option('--all', 'all members, as without arguments')
    .option('-i, --member <name>', 'the same as an argument, as PyCoffer has it')
    .option('-p, --path <directory>', 'the same as --to, as PyCoffer has it')
    .option('--max-member-size <size>', 'write nothing if a file is larger: bytes, or 5MB, 2GiB', size)
    .option('--max-total-size <size>', 'write nothing if all files together are larger', size)
    .option('--max-catalog-size <size>', 'write nothing if the catalog is larger, uncompressed', size)
    .option('--plugins', 'also records of plugins, such as passwords, below .plugins')
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
      const given = {
        replace: options.overwrite,
        preserve: options.preserve,
        ...(options.from === undefined || memberName(options.from) === '.' ? {} : { from: memberName(options.from) }),
        ...limits,
        ...stoppable,
      }
      const extracted = await reading(command, { ...options, ...limits }, (coffer) =>
        withProgress('extracting', (bar) =>
          names === undefined
            ? coffer.extractAll(to, { ...given, plugins: options.plugins, onProgress: bar.update })
            : coffer.extract(names, to, { ...given, onProgress: bar.update }),
        ),
      )
      leftOut(extracted.skipped)
      if (manner.json) return json(extracted)
      say(`extracted ${count(extracted.files, 'file')}, ${bytes(extracted.bytes)}, to ${to}`)
    })
}
