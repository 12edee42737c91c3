import { CofferError } from '../../errors.ts'
import { Entry } from '../entry.ts'
import { memberName } from '../names.ts'
import { reading, stoppable } from '../session.ts'
import { interrupted } from '../terminal/interrupt.ts'
import { bytes, write } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'

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
            for (const name of members.map(memberName)) {
              const { size } = await coffer.stat(name)
              let done = 0
              try {
                for await (const chunk of coffer.createReadStream(name, stoppable)) {
                  interrupted.throwIfAborted()
                  await write(chunk)
                  done += chunk.length
                  bar.update({ bytes: done, totalBytes: size, members: 0, name })
                }
              } catch (error) {
                throw named(error, name, done)
              }
              bar.next()
            }
          },
          !process.stdout.isTTY,
        ),
      )
    })
}

/** Adds to an error of damage the member, and how much of it was written. */
function named(error: unknown, name: string, done: number): unknown {
  if (!(error instanceof CofferError) || error.code !== 'ERR_COFFER_CORRUPT') return error
  const { code, message, path } = error
  const written = done === 0 ? 'nothing of it was written' : `only its beginning was written, ${bytes(done)}`
  return new CofferError(code, `the member ${name} is damaged, and ${written}: ${message}`, {
    ...(path === undefined ? {} : { path }),
    member: name,
    cause: error,
  })
}
