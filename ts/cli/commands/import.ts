import { createReadStream } from 'node:fs'
import { importTar } from '../../tar/import.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { memberName } from '../names.ts'
import { changing, stoppable } from '../session.ts'
import { takeInput } from '../terminal/input.ts'
import { json, manner, say, stored, warn } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'

interface Options {
  prefix?: string
  replace?: boolean
}

/** `coffer import` */
export function importing(): Entry {
  return new Entry('import')
    .summary('store the content of a tar archive')
    .description(
      'Stores the files and empty directories of a plain tar archive, with permissions and times, all of them or none. A hard link is stored as a copy. Symbolic links, sparse files and devices are left out, and reported. A missing coffer is created.',
    )
    .argument('[archive]', 'the archive; - is standard input', '-')
    .requiredOption('--tar', 'from a tar archive')
    .option('--prefix <directory>', 'a directory of the coffer for everything in the archive')
    .option('--replace', 'replace existing members')
    .example('A compressed archive', 'zstd -dc all.tar.zst | coffer import --tar')
    .example('Below a directory', 'coffer import --tar backup.tar --prefix backup/2024')
    .action(async (archive: string, { prefix, replace }: Options, command: Entry) => {
      if (archive === '-' && process.stdin.isTTY) {
        throw new UsageError('an archive is not read from a terminal: coffer import --tar < all.tar')
      }
      const source = archive === '-' ? takeInput('the archive') : createReadStream(archive)
      const imported = await changing(command, { create: true }, (coffer) =>
        withProgress('importing', (bar) =>
          importTar(coffer, source, {
            ...(prefix === undefined || memberName(prefix) === '.' ? {} : { prefix: memberName(prefix) }),
            replace: replace ?? false,
            onProgress: bar.update,
            ...stoppable,
          }),
        ),
      )
      for (const { path, reason } of imported.skipped) warn(`left out ${path}: ${reason}`)
      if (manner.json) return json(imported)
      say(`imported ${stored(imported)}`)
    })
}
