import type { Entry } from '../entry.ts'

/** The sections of the man page besides the commands. */
const chapters: readonly (readonly [string, readonly string[]])[] = [
  [
    'CONFIGURATION',
    [
      "The file ~/.cofferrc, or the one that --conf names, has a section for each coffer. It is YAML in the shape of PyCoffer's; the INI files of PyCoffer are read as well. It is refused unless only its owner has permissions on it. The command that makes a coffer writes type and archive_id into its section, and another coffer in its place is refused.",
    ],
  ],
  [
    'KEYS',
    [
      'Keys come from --ask-passphrase, --password-command or --keyring; else from the environment; else from the configuration. They are never arguments, which other users can see.',
    ],
  ],
]

const environment: readonly (readonly [string, string])[] = [
  ['COFFER_KEY, COFFER_SECURE_KEY', 'The keys of the coffer, as base64 text.'],
  ['COFFER_PASSPHRASE', 'The passphrase of the coffer.'],
  [
    'COFFER_KEY_FILE, COFFER_SECURE_KEY_FILE, COFFER_PASSPHRASE_FILE',
    'A file whose first line is that; - is standard input.',
  ],
  ['NO_COLOR, FORCE_COLOR', 'No colours; colours although the output is not a terminal.'],
  ['COFFER_DEBUG', 'If it is set, errors are printed with their stack trace.'],
]

const exitStatus: readonly (readonly [string, string])[] = [
  ['0', 'Done.'],
  ['1', 'Failure.'],
  ['2', 'Usage error.'],
  ['3', 'The key is wrong, or keys were given for a coffer that is not sealed.'],
  ['4', 'The coffer is damaged, or it is not the one that was expected.'],
  ['5', 'The coffer is locked by another process.'],
  ['130, 143', 'Interrupted or terminated by a signal: the coffer is as of its last flush.'],
]

/** The man page of a program, as roff. */
export function manPage(root: Entry): string {
  const lines = [
    '.TH COFFER 1 "" Coffer "User Commands"',
    '.SH NAME',
    `coffer \\- ${roff(root.summary())}`,
    '.SH SYNOPSIS',
    '.B coffer',
    '[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]',
    '.SH DESCRIPTION',
    roff(root.description()),
    '.SH OPTIONS',
    'These apply to all commands.',
    ...options(root),
    '.SH COMMANDS',
    ...root.entries.flatMap(command),
    ...chapters.flatMap(([title, paragraphs]) => [
      `.SH ${title}`,
      ...paragraphs.flatMap((text) => ['.PP', roff(text)]),
    ]),
    '.SH ENVIRONMENT',
    ...environment.flatMap(([name, text]) => tagged(name, text)),
    '.SH EXIT STATUS',
    ...exitStatus.flatMap(([code, text]) => tagged(code, text)),
    '.SH FILES',
    ...tagged('~/.cofferrc', 'The configuration.'),
  ]
  return `${lines.join('\n')}\n`
}

function command(entry: Entry): string[] {
  const own = [
    `.SS "${roff(`${entry.fullName} ${entry.usage()}`)}"`,
    roff(entry.description()),
    ...entry.registeredArguments.flatMap((argument) => tagged(argument.name(), sentence(argument.description))),
    ...options(entry),
    ...entry.examples.flatMap(({ what, line }) => [
      '.PP',
      roff(`${what}:`),
      '.PP',
      '.nf',
      '.RS',
      roff(line),
      '.RE',
      '.fi',
    ]),
  ]
  return [...own, ...entry.entries.flatMap(command)]
}

function options(entry: Entry): string[] {
  const shown = entry.options.filter((option) => !option.hidden)
  return shown.flatMap(({ flags, description, argChoices }) => {
    const choices = argChoices ? `: ${argChoices.join(', ')}` : ''
    return tagged(flags, sentence(description + choices))
  })
}

function tagged(tag: string, text: string): string[] {
  return ['.TP', `\\fB${roff(tag)}\\fR`, roff(text)]
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** Escapes text for roff. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replace(/^([.'])/gm, '\\&$1')
}
