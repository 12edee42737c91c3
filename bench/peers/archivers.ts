/** Encrypting archivers: each packs one file or tree into one archive, durably, and gets it out again. */
import { readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { missing, shell } from './programs.ts'

export interface Archiver {
  readonly name: string
  readonly programs: readonly string[]
  /** Makes keys, and a repository where there is one, in `scratch`. */
  prepare?(scratch: string): void
  /** Packs what is at `source` into `scratch`. */
  pack(source: string, scratch: string): void
  /** What `pack` has packed, into `target`. */
  unpack(scratch: string, target: string): void
  /** The archive's length in bytes. */
  size(scratch: string): number
}

const archive = (scratch: string): string => join(scratch, 'archive')
const one = (scratch: string): number => statSync(archive(scratch)).size

const tarZstdAge: Archiver = {
  name: 'tar | zstd -T0 -3 | age',
  programs: ['tar', 'zstd', 'age'],
  prepare(scratch) {
    shell('age-keygen -o "$1/key" 2>/dev/null', [scratch])
  },
  pack(source, scratch) {
    const script =
      'tar -C "$1" -cf - "$2" | zstd -q -3 -T0 | age -r "$(age-keygen -y "$3/key")" > "$3/archive"; sync "$3/archive"'
    shell(script, [dirname(source), basename(source), scratch])
  },
  unpack(scratch, target) {
    shell('mkdir -p "$2"; age -d -i "$1/key" "$1/archive" | zstd -q -d | tar -C "$2" -xf -', [scratch, target])
  },
  size: one,
}

const sevenZip: Archiver = {
  name: '7-Zip, AES-256',
  programs: ['7z'],
  pack(source, scratch) {
    const script =
      'cd "$1"; 7z a -bso0 -bsp0 -mx=1 -mhe=on -psecret "$3/archive.7z" "$2"; sync "$3/archive.7z"; mv "$3/archive.7z" "$3/archive"'
    shell(script, [dirname(source), basename(source), scratch])
  },
  unpack(scratch, target) {
    shell('7z x -bso0 -bsp0 -psecret "-o$2" "$1/archive"', [scratch, target])
  },
  size: one,
}

const secret = { RESTIC_PASSWORD: 'secret' }
const restic: Archiver = {
  name: 'restic',
  programs: ['restic'],
  prepare(scratch) {
    shell('restic init -q --no-cache -r "$1/archive"', [scratch], secret)
  },
  pack(source, scratch) {
    const script =
      'cd "$1"; restic backup -q --no-cache -r "$3/archive" "$2"; find "$3/archive" -type f -exec sync {} +'
    shell(script, [dirname(source), basename(source), scratch], secret)
  },
  unpack(scratch, target) {
    shell('restic restore -q --no-cache -r "$1/archive" --target "$2" latest', [scratch, target], secret)
  },
  size: (scratch) => total(archive(scratch)),
}

const mlar: Archiver = {
  name: 'mlar',
  programs: ['mlar'],
  prepare(scratch) {
    shell('mlar keygen "$1/key" 2>/dev/null', [scratch])
  },
  pack(source, scratch) {
    const script =
      'cd "$1"; find "$2" -type f | mlar create --unsigned -q 1 -p "$3/key.mlapub" -o "$3/archive" --stdin-filepath-list 2>/dev/null; sync "$3/archive"'
    shell(script, [dirname(source), basename(source), scratch])
  },
  unpack(scratch, target) {
    const script =
      'mkdir -p "$2"; mlar extract --skip-signature-verification -k "$1/key.mlapriv" -i "$1/archive" -o "$2" >/dev/null 2>&1'
    shell(script, [scratch, target])
  },
  size: one,
}

const all = [tarZstdAge, sevenZip, restic, mlar]

/** The one that the goals name. */
export const pipe = tarZstdAge.name

/** Those whose programs are there, and the names of the others. */
export function archivers(): { found: readonly Archiver[]; missing: string[] } {
  const found = all.filter(({ programs }) => missing(programs).length === 0)
  return { found, missing: all.filter((each) => !found.includes(each)).map(({ name }) => name) }
}

function total(directory: string): number {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  return entries.filter((e) => e.isFile()).reduce((sum, e) => sum + statSync(join(e.parentPath, e.name)).size, 0)
}
