import { exportTar } from '../../tar/export.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { memberNames } from '../names.ts'
import { reading, stoppable } from '../session.ts'
import { write } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'

/** `coffer export` */
export function exporting(): Entry {
  return new Entry('export')
    .summary('write members as a tar archive to standard output')
    .description('Writes all members, or the named ones, as a plain tar archive to standard output.')
    .argument('[members...]', 'members and directories')
    .requiredOption('--tar', 'as a tar archive')
    .option('--plugins', 'also records of plugins, such as passwords, below .plugins')
    .option('--legacy', 'accept a coffer that PyCoffer wrote')
    .example('To a compressed archive', 'coffer export --tar | zstd > all.tar.zst')
    .example('From one coffer into another', 'coffer export --tar -f old | coffer import --tar -f new')
    .action(async (members: string[], options: { legacy?: boolean; plugins?: boolean }, command: Entry) => {
      if (process.stdout.isTTY)
        throw new UsageError('an archive is not written to a terminal: coffer export --tar > all.tar')
      await reading(command, options, (coffer) =>
        withProgress('exporting', async (bar) => {
          const names = memberNames(members)
          const chosen = names === undefined ? { plugins: options.plugins ?? false } : { members: names }
          for await (const chunk of exportTar(coffer, { ...chosen, onProgress: bar.update, ...stoppable }))
            await write(chunk)
        }),
      )
    })
}
