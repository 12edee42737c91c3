import type { SalvageResult } from '../../coffer/salvage.ts'
import { Entry } from '../entry.ts'
import { EXIT } from '../exit.ts'
import { salvaging, stoppable } from '../session.ts'
import { bytes, count, json, line, manner, say, shown, warn } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'

/** `coffer salvage` */
export function salvage(): Entry {
  return new Entry('salvage')
    .summary('copy undamaged members into a new coffer')
    .description(
      'Copies every undamaged member of a damaged coffer into a new one with the same keys, and lists the lost ones with the reason. The damaged coffer is not changed. Members that no commit authenticates may be forged inside the contents of another member: they are stored separately, below .salvaged. If anything is lost, may be lost, or is stored separately, the exit code is 4, and the new coffer exists anyway.',
    )
    .argument('<target>', 'the file of the new coffer')
    .option('--legacy', 'the damaged coffer was written by PyCoffer')
    .option('--claimed-names', 'members that no commit authenticates get the names that they claim')
    .example('A coffer of the configuration', 'coffer salvage rescued.coffer -f archive')
    .example('A coffer whose beginning is missing', 'coffer salvage rescued.coffer --file broken.coffer --type store')
    .action(async (target: string, options: { legacy?: boolean; claimedNames?: boolean }, command: Entry) => {
      const salvaged = await withProgress('salvaging', (bar) =>
        salvaging(command, target, { ...options, onProgress: bar.update, ...stoppable }),
      )
      const { lost, complete, unverified } = salvaged
      if (lost.length > 0 || !complete || unverified.length > 0) process.exitCode = EXIT.damaged
      if (manner.json) return json(salvaged)
      await tell(salvaged)
    })
}

async function tell({
  members,
  bytes: size,
  unverified,
  lost,
  nameless,
  complete,
  notices,
}: SalvageResult): Promise<void> {
  for (const { message } of notices) warn(message)
  for (const { name, reason } of lost) await line(`lost: ${shown(name)} (${reason})`)
  if (manner.quiet) return
  for (const name of unverified) await line(`unverified: ${shown(name)}`)
  if (nameless > 0) warn(`${bytes(nameless)} could be read, and belong to no member whose name is known`)
  if (!complete) warn('commits could not be read: there may be more that is lost, or older than it should be')
  say(`salvaged ${count(members, 'member')}, ${bytes(size)}; lost ${lost.length}`)
}
