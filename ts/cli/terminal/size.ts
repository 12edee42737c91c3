import { InvalidArgumentError } from 'commander'

const units: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
}

/** Parses a number of bytes: `1000`, `20MB`, `1.5 GiB`. */
export function size(text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(text) ?? []
  const bytes = Math.floor(Number(number) * (units[unit.toLowerCase()] ?? Number.NaN))
  if (number !== '' && Number.isSafeInteger(bytes)) return bytes
  throw new InvalidArgumentError('It must be a number of bytes, or of kB, MB, GB, TB, KiB, MiB, GiB or TiB.')
}
