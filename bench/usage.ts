/** What Linux counts for this process. Other systems do not say: there it is null. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Bytes that this process wrote since its start. */
export interface Written {
  /**
   * To block devices: what became dirty in the system's cache, in whole pages of 4 KiB, or in whole folios: see
   * {@link inPages}. 0 on a tmpfs, which has no device.
   */
  readonly device: number
  /** In system calls, whatever they wrote to. */
  readonly calls: number
}

export function written(): Written | null {
  if (process.platform !== 'linux') return null
  const text = readFileSync('/proc/self/io', 'latin1')
  const field = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1])
  return { device: field('write_bytes'), calls: field('wchar') }
}

/** What was written between two readings. */
export function difference(before: Written | null, after: Written | null): Written | null {
  if (before === null || after === null) return null
  return { device: after.device - before.device, calls: after.calls - before.calls }
}

/**
 * Takes the files of a directory out of the system's cache and reads them into it again. What was written in one call is
 * cached in folios of up to 2 MiB by newer systems, and a byte that changes there counts as the whole folio, although no
 * more than a page goes to the device. What is read comes in smaller ones. A file that is mapped stays as it is.
 */
export function inPages(directory: string): void {
  if (process.platform !== 'linux') return
  for (const name of readdirSync(directory)) {
    const path = join(directory, name)
    execFileSync('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'], { stdio: 'ignore' })
    readFileSync(path)
  }
}

/** The open descriptors of this process. */
export function descriptors(): number | null {
  // Reading the directory takes one itself.
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length - 1 : null
}
