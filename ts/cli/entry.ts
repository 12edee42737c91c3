import { Command } from 'commander'

/** An example of a command: its purpose and its command line. */
export interface Example {
  what: string
  line: string
}

/** A command of the program, with examples. Help, completion and the man page are generated from it. */
export class Entry extends Command {
  readonly examples: Example[] = []

  /** Adds an example. */
  example(what: string, line: string): this {
    this.examples.push({ what, line })
    return this
  }

  /** The name with those of its parents: `coffer password add`. */
  get fullName(): string {
    return this.parent instanceof Entry ? `${this.parent.fullName} ${this.name()}` : this.name()
  }

  /** The subcommands. */
  get entries(): Entry[] {
    return this.commands.filter((command) => command instanceof Entry)
  }

  override createCommand(name?: string): Entry {
    return new Entry(name)
  }
}

/**
 * The examples of a command for its help, wrapped to a width in columns. A wrapped command line is still valid
 * in a shell.
 */
export function examplesText({ examples }: Entry, columns: number): string {
  if (examples.length === 0) return ''
  const lines = examples.flatMap(({ what, line }) => [
    `  ${wrapped(line, columns - 6).join(' \\\n    ')}`,
    ...wrapped(what, columns - 6).map((part) => `      ${part}`),
  ])
  return `\nExamples:\n${lines.join('\n')}`
}

/** Wraps text at spaces. A word longer than the width has its own line. */
export function wrapped(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines = ['']
    for (const word of paragraph.split(' ')) {
      const last = lines.length - 1
      const longer = lines[last] === '' ? word : `${lines[last]} ${word}`
      if (longer.length <= width || lines[last] === '') lines[last] = longer
      else lines.push(word)
    }
    return lines
  })
}
