import { Command } from 'commander'

/** An example of a command: what it is for, and the line to type. */
export interface Example {
  what: string
  line: string
}

/** A command of the program, with examples. Help, completion and the man page are made from it. */
export class Entry extends Command {
  readonly examples: Example[] = []

  /** Adds an example. */
  example(what: string, line: string): this {
    this.examples.push({ what, line })
    return this
  }

  /** Its name with those of the commands that it belongs to: `coffer password add`. */
  get fullName(): string {
    return this.parent instanceof Entry ? `${this.parent.fullName} ${this.name()}` : this.name()
  }

  /** The commands below it that are meant to be seen. */
  get entries(): Entry[] {
    return this.commands.filter((command) => command instanceof Entry)
  }

  override createCommand(name?: string): Entry {
    return new Entry(name)
  }
}

/** The examples of a command as its help shows them, in so many columns. A line that is cut can be typed as it stands. */
export function examplesText({ examples }: Entry, columns: number): string {
  if (examples.length === 0) return ''
  const lines = examples.flatMap(({ what, line }) => [
    `  ${wrapped(line, columns - 6).join(' \\\n    ')}`,
    ...wrapped(what, columns - 6).map((part) => `      ${part}`),
  ])
  return `\nExamples:\n${lines.join('\n')}`
}

/** Lines of whole words. A word that is longer than a line has one of its own. */
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
