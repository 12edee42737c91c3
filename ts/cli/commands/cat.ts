import { Entry } from '../entry.ts'
import { interrupted } from '../interrupt.ts'
import { write } from '../output.ts'
import { withProgress } from '../progress.ts'
import { reading, stoppable } from '../session.ts'

/** `coffer cat` */
export function cat(): Entry {
  return new Entry('cat')
    .summary('write members to standard output')
    .description('Writes the contents of members to standard output, one after another.')
    .argument('<members...>', 'members')
    .option('--legacy', 'accept a coffer that PyCoffer wrote')
    .example('Look at a text', 'coffer cat notes/todo.txt | less')
    .example('Restore a database', 'coffer cat shop.sql | psql shop')
    .action(async (members: string[], options: { legacy?: boolean }, command: Entry) => {
      await reading(command, options, (coffer) =>
        withProgress(
          'reading',
          async (bar) => {
            for (const name of members) {
              const { size } = await coffer.stat(name)
              let done = 0
              for await (const chunk of coffer.createReadStream(name, stoppable)) {
                interrupted.throwIfAborted()
                await write(chunk)
                done += chunk.length
                bar.update({ bytes: done, totalBytes: size, members: 0, name })
              }
              bar.next()
            }
          },
          !process.stdout.isTTY,
        ),
      )
    })
}
