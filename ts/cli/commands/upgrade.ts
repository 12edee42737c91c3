import { Entry } from '../entry.ts'
import { json, manner, say } from '../output.ts'
import { changing } from '../session.ts'

/** `coffer upgrade` */
export function upgrade(): Entry {
  return new Entry('upgrade')
    .summary("bring PyCoffer's coffer to the format of this package")
    .description(
      'Rewrites a coffer that PyCoffer wrote in version 1 of the format, which notices changes that PyCoffer cannot. PyCoffer can still open it.',
    )
    .option('--backup [suffix]', 'keep the old file under its name and this suffix (.bak)')
    .example('With a copy of the old file', 'coffer upgrade --backup --file old.coffer --type bank')
    .action(async ({ backup }: { backup?: string | true }, command: Entry) => {
      const upgraded = await changing(command, { legacy: true, backup }, async (coffer) => {
        const legacy = coffer.notices.some(({ code }) => code === 'legacy')
        if (legacy) await coffer.flush({ force: true })
        return legacy
      })
      if (manner.json) return json({ upgraded })
      say(upgraded ? 'upgraded to version 1' : 'it is of version 1 already')
    })
}
