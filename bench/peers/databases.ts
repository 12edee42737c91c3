/** Databases as peers of a coffer: the same members, each change durable when it is answered. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { level, lmdb, sqlite } from './modules.ts'

/** Members by name, and a log of lines. */
export interface Table {
  /** Writes the first members and lines, all at once. */
  fill(members: ReadonlyMap<string, Buffer>, lines: readonly Buffer[]): Promise<unknown>
  read(name: string): Promise<Uint8Array | undefined> | Uint8Array | undefined
  replace(name: string, content: Buffer): unknown
  delete(name: string): unknown
  append(line: Buffer): unknown
  /** Does what the table has put off and can be asked for. */
  settle(): unknown
  close(): unknown
}

/** Makes an empty table in an empty directory. */
export type MakeTable = (directory: string) => Promise<Table>

/** The databases that are on this machine, and the names of those that are not. */
export function databases(): { readonly present: Readonly<Record<string, MakeTable>>; readonly missing: string[] } {
  const all = { 'better-sqlite3': sqliteTable(), 'classic-level': levelTable(), lmdb: lmdbTable() }
  const entries = Object.entries(all)
  return {
    present: Object.fromEntries(
      entries.flatMap(([name, make]): [string, MakeTable][] => (make === null ? [] : [[name, make]])),
    ),
    missing: entries.filter(([, make]) => make === null).map(([name]) => name),
  }
}

/** The bytes of all files in a directory. */
export function sizeOf(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)
}

/** The name of a line where the lines are entries beside the members. */
function lineName(number: number): string {
  return `log/${String(number).padStart(8, '0')}`
}

/** SQLite with a write-ahead log, synced at each commit, and with deleted content overwritten. */
function sqliteTable(): MakeTable | null {
  const Sqlite = sqlite()
  if (Sqlite === null) return null
  return async (directory) => {
    const database = new Sqlite(join(directory, 'database'))
    database.pragma('journal_mode = WAL')
    database.pragma('synchronous = FULL')
    database.pragma('secure_delete = ON')
    database.exec('CREATE TABLE members (name TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID')
    database.exec('CREATE TABLE log (number INTEGER PRIMARY KEY, line BLOB)')
    const insert = database.prepare('INSERT INTO members VALUES (?, ?)')
    const append = database.prepare('INSERT INTO log (line) VALUES (?)')
    const update = database.prepare('UPDATE members SET content = ? WHERE name = ?')
    const remove = database.prepare('DELETE FROM members WHERE name = ?')
    const select = database.prepare('SELECT content FROM members WHERE name = ?')
    return {
      fill: async (members, lines) => {
        database.exec('BEGIN')
        for (const [name, content] of members) insert.run(name, content)
        for (const line of lines) append.run(line)
        database.exec('COMMIT')
      },
      read: (name) => (select.get(name) as { content: Buffer } | undefined)?.content,
      replace: (name, content) => update.run(content, name),
      delete: (name) => remove.run(name),
      append: (line) => append.run(line),
      settle: () => database.pragma('wal_checkpoint(TRUNCATE)'),
      close: () => database.close(),
    }
  }
}

/** LevelDB, synced at each write. It merges its files when it likes, and cannot be asked for no more than that. */
function levelTable(): MakeTable | null {
  const ClassicLevel = level()
  if (ClassicLevel === null) return null
  return async (directory) => {
    const database = new ClassicLevel(directory, { valueEncoding: 'buffer' })
    await database.open()
    let line = 0
    return {
      fill: (members, lines) => {
        const entries = [...members, ...lines.map((content) => [lineName(line++), content] as const)]
        return database.batch(
          entries.map(([key, value]) => ({ type: 'put', key, value })),
          { sync: true },
        )
      },
      read: (name) => database.get(name),
      replace: (name, content) => database.put(name, content, { sync: true }),
      delete: (name) => database.del(name, { sync: true }),
      append: (content) => database.put(lineName(line++), content, { sync: true }),
      settle: () => {},
      close: () => database.close(),
    }
  }
}

/** LMDB, whose promises settle when the transaction is on the disk: by default they do before. */
function lmdbTable(): MakeTable | null {
  const module = lmdb()
  if (module === null) return null
  return async (directory) => {
    const path = join(directory, 'database')
    const database = module.open({ path, encoding: 'binary', overlappingSync: false, noSubdir: true })
    let line = 0
    return {
      fill: (members, lines) =>
        database.transaction(() => {
          for (const [name, content] of members) void database.put(name, content)
          for (const content of lines) void database.put(lineName(line++), content)
        }),
      read: (name) => database.get(name),
      replace: (name, content) => database.put(name, content),
      delete: (name) => database.remove(name),
      append: (content) => database.put(lineName(line++), content),
      settle: () => {},
      close: () => database.close(),
    }
  }
}
