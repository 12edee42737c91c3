import { Entry } from '../entry.ts'
import { reading, stoppable } from '../session.ts'
import { bytes, count, json, line, manner } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'

/** `coffer verify` */
export function verify(): Entry {
  return new Entry('verify')
    .summary('check every byte')
    .description('Reads everything in a coffer and checks it for damage, which is exit code 4.')
    .option('--legacy', 'accept a coffer that PyCoffer wrote')
    .example('Every night, by cron', 'coffer verify --quiet -f archive || mail -s "archive is damaged" root')
    .action(async (options: { legacy?: boolean }, command: Entry) => {
      const verified = await reading(command, options, (coffer) =>
        withProgress('verifying', (bar) => coffer.verify({ onProgress: bar.update, ...stoppable })),
      )
      if (manner.json) return json(verified)
      if (manner.quiet) return
      await line(
        `all is well: ${count(verified.members, 'member')}, ${count(verified.blocks, 'block')}, ${bytes(verified.bytes)}`,
      )
    })
}
