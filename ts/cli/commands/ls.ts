import type { Member } from '../../member/member.ts'
import { Entry } from '../entry.ts'
import { matching } from '../patterns.ts'
import { reading } from '../session.ts'
import { json, manner, shown, styled, table, write } from '../terminal/output.ts'

interface Options {
  long?: boolean
  null?: boolean
  legacy?: boolean
  plugins?: boolean
}

/** `coffer ls` */
export function ls(): Entry {
  return new Entry('ls')
    .summary('list members')
    .description('Lists the members of a coffer: all, or those that match a name, a directory or a glob.')
    .argument(
      '[patterns...]',
      'names, directories, or globs such as "*.txt": * ? [a-z] [!a-z] ** are special, all other characters literal',
    )
    .option('-l, --long', 'also permissions, size, size in the coffer, and time')
    .option('-0, --null', 'end names with NUL instead of a newline, and never escape them')
    .option('--plugins', 'also records of plugins, such as passwords, below .plugins')
    .option('--legacy', 'accept a coffer that PyCoffer wrote')
    .example('Everything, with sizes and times', 'coffer ls -l')
    .example('Text files anywhere, and all below reports', 'coffer ls "*.txt" reports')
    .example('The largest member, by a program', "coffer ls --json | jq 'max_by(.size)'")
    .action(async (patterns: string[], options: Options, command: Entry) => {
      const members = await reading(command, options, async (coffer) =>
        matching(await coffer.members(), patterns, options.plugins),
      )
      if (manner.json) await json(members.map(plain))
      else if (options.long) await table(members.map(row))
      else if (options.null) for (const { name } of members) await write(`${name}\0`)
      else for (const member of members) await write(`${title(member)}\n`)
    })
}

/** A member for `--json`. */
export function plain({ name, type, size, storedSize, mode, mtime }: Member): Readonly<Record<string, unknown>> {
  return { name, type, size, storedSize, mode: mode.toString(8).padStart(4, '0'), mtime: mtime.toISOString() }
}

function title({ name, type }: Member): string {
  return type === 'directory' ? styled('blue', `${shown(name)}/`) : shown(name)
}

function row(member: Member): (string | number)[] {
  return [permissions(member), member.size, member.storedSize, time(member.mtime), title(member)]
}

function permissions({ type, mode }: Member): string {
  const bits = [...'rwxrwxrwx'].map((letter, index) => ((mode >> (8 - index)) & 1 ? letter : '-'))
  return (type === 'directory' ? 'd' : '-') + bits.join('')
}

function time(date: Date): string {
  const two = (number: number) => String(number).padStart(2, '0')
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-')
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`
}
