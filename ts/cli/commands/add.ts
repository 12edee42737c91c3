import { Option } from 'commander'
import type { CofferBatch } from '../../coffer/batch.ts'
import type { AddResult } from '../../coffer/writes.ts'
import { CofferError } from '../../errors.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { memberName } from '../names.ts'
import { changing, stoppable } from '../session.ts'
import { takeInput } from '../terminal/input.ts'
import { interrupted } from '../terminal/interrupt.ts'
import { json, manner, say, stored } from '../terminal/output.ts'
import { type ProgressBar, withProgress } from '../terminal/progress.ts'
import { leftOut } from '../terminal/skipped.ts'

interface Options {
  as?: string
  replace?: boolean
  symlinks?: 'follow' | 'skip' | 'error'
  source?: string
  target?: string
}

/** The paths of process substitution in a shell: `<(command)`. */
const descriptors = /^\/(?:dev|proc\/(?:self|\d+))\/fd\/\d+$/

/** `coffer add` */
export function add(): Entry {
  return new Entry('add')
    .summary('add files and directories')
    .description(
      'Adds files, and directories with everything below them, in one commit: all of them, or none if anything fails. A missing coffer is created.',
    )
    .argument('[files...]', 'files, directories and pipes; - is standard input, which needs --as')
    .option('--as <name>', 'the name in the coffer; its own name by default')
    .option('--replace', 'replace existing members')
    .addOption(new Option('--symlinks <what>', 'the treatment of symbolic links').choices(['follow', 'skip', 'error']))
    .option('-s, --source <file>', 'the same as an argument, as PyCoffer has it')
    .option('-t, --target <name>', 'the same as --as, as PyCoffer has it')
    .example('A directory, by its own name', 'coffer add reports')
    .example(
      'A file by another name, in place of an older one',
      'coffer add may.pdf --as reports/2024/may.pdf --replace',
    )
    .example('What a command prints', 'pg_dump shop | coffer add - --as shop.sql')
    .action(async (files: string[], given: Options, command: Entry) => {
      const as = given.as ?? given.target
      const options = { ...given, as: as === undefined ? undefined : memberName(as) }
      const sources = options.source === undefined ? files : [options.source, ...files]
      if (sources.length === 0) throw new UsageError('nothing to add: name files or directories')
      if (options.as !== undefined && sources.length > 1) throw new UsageError('--as is for one file or directory')
      if (sources.includes('-') && options.as === undefined) {
        throw new UsageError('standard input has no name: --as says what it is called in the coffer')
      }
      const descriptor = sources.find((source) => descriptors.test(source))
      if (descriptor !== undefined && options.as === undefined) {
        throw new UsageError(`${descriptor} is a number, not a name: --as says what it is called in the coffer`)
      }
      const added: AddResult = { files: 0, directories: 0, bytes: 0, skipped: [] }
      await changing(command, { create: true }, (coffer) =>
        withProgress('adding', (bar) =>
          coffer.batch(async (batch) => {
            for (const source of sources) {
              merge(
                added,
                source === '-' ? await addInput(batch, options, bar) : await addFile(batch, source, options, bar),
              )
              bar.next()
            }
          }),
        ),
      )
      leftOut(added.skipped)
      if (manner.json) return json(added)
      say(`added ${stored(added)}`)
    })
}

async function addFile(
  batch: CofferBatch,
  source: string,
  { as, replace, symlinks }: Options,
  bar: ProgressBar,
): Promise<AddResult> {
  return batch.add(source, { as, replace: replace ?? false, symlinks, onProgress: bar.update, ...stoppable })
}

async function addInput(batch: CofferBatch, { as = '', replace }: Options, bar: ProgressBar): Promise<AddResult> {
  if (!replace && (await batch.has(as))) {
    throw new CofferError('ERR_COFFER_MEMBER_EXISTS', `there is a member ${as} already`, { member: as })
  }
  let done = 0
  const input = takeInput('what is added').on('data', (chunk: Buffer) => {
    done += chunk.length
    bar.update({ bytes: done, members: 0, name: as })
  })
  input.pause()
  await batch.write(as, input, { signal: interrupted })
  return { files: 1, directories: 0, bytes: done, skipped: [] }
}

function merge(sum: AddResult, part: AddResult): void {
  sum.files += part.files
  sum.directories += part.directories
  sum.bytes += part.bytes
  sum.skipped.push(...part.skipped)
}
