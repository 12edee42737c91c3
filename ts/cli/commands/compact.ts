import { stat } from 'node:fs/promises'
import { Entry } from '../entry.ts'
import { changing, stoppable } from '../session.ts'
import { bytes, json, manner, say } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'

/** `coffer compact` */
export function compact(): Entry {
  return new Entry('compact')
    .summary('rewrite a coffer without dead space')
    .description(
      'Rewrites a coffer without dead space into a new file, which replaces the old one. The new file has not even the names of deleted members.',
    )
    .example('The coffer of the configuration', 'coffer compact')
    .action(async (_: object, command: Entry) => {
      const sizes = await changing(command, {}, async (coffer) => {
        const before = (await stat(coffer.path)).size
        await withProgress('compacting', (bar) => coffer.compact({ onProgress: bar.update, ...stoppable }))
        return { before, after: (await stat(coffer.path)).size }
      })
      if (manner.json) return json(sizes)
      say(`compacted: ${bytes(sizes.before)} before, ${bytes(sizes.after)} now`)
    })
}
