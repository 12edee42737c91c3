import type { Progress } from '../watch.ts'
import { bytes, escaped, manner } from './output.ts'

/** Bar, percentage, bytes, rate and time left need this many columns; a name gets the rest. */
const BAR_COLUMNS = 20
const CLEAR_LINE = '\r\x1b[2K'
const MS_PER_S = 1000

/** Shows on one line of a terminal how far something has come; elsewhere nothing. */
export class ProgressBar {
  readonly #label: string
  readonly #started = performance.now()
  readonly #visible: boolean
  #drawn = false
  #before = { bytes: 0, members: 0 }
  #last: Progress = { bytes: 0, members: 0 }

  /** @param stream where it would be shown: never where the output itself goes to the terminal */
  constructor(label: string, visible = true) {
    this.#label = label
    this.#visible = visible && process.stderr.isTTY === true && !manner.quiet && !manner.json
  }

  /** What the long calls take as `onProgress`. */
  readonly update = (progress: Progress): void => {
    this.#last = progress
    if (!this.#visible) return
    this.#drawn = true
    const columns = process.stderr.columns || 80
    process.stderr.write(CLEAR_LINE + this.#line(progress).slice(0, columns - 1))
  }

  /** Begins the next part of the same work. */
  next(): void {
    this.#before = {
      bytes: this.#before.bytes + this.#last.bytes,
      members: this.#before.members + this.#last.members,
    }
    this.#last = { bytes: 0, members: 0 }
  }

  /** Takes the line away again. */
  clear(): void {
    if (this.#drawn) process.stderr.write(CLEAR_LINE)
    this.#drawn = false
  }

  #line({ bytes: part, totalBytes, name }: Progress): string {
    const done = this.#before.bytes + part
    const seconds = (performance.now() - this.#started) / MS_PER_S
    const rate = seconds > 0 ? done / seconds : 0
    const figures = [`${bytes(done)}`, `${bytes(rate)}/s`]
    if (totalBytes === undefined) return [this.#label, ...figures, escaped(name ?? '')].join('  ')
    const ratio = totalBytes === 0 ? 1 : Math.min(1, part / totalBytes)
    const left = rate > 0 ? (totalBytes - part) / rate : 0
    const filled = Math.round(ratio * BAR_COLUMNS)
    const bar = `[${'#'.repeat(filled)}${'-'.repeat(BAR_COLUMNS - filled)}]`
    const percent = `${String(Math.floor(ratio * 100)).padStart(3)} %`
    return [this.#label, bar, percent, ...figures, `${duration(left)} left`, escaped(name ?? '')].join('  ')
  }
}

/** A number of seconds as minutes and seconds, or hours, minutes and seconds. */
function duration(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds))
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, '0'))
  const hours = Math.floor(whole / 3600)
  return hours > 0 ? `${hours}:${parts.join(':')}` : parts.join(':')
}

/** Runs something long with a bar that is gone when it ends, however it ends. */
export async function withProgress<T>(
  label: string,
  work: (bar: ProgressBar) => Promise<T>,
  visible?: boolean,
): Promise<T> {
  const bar = new ProgressBar(label, visible)
  try {
    return await work(bar)
  } finally {
    bar.clear()
  }
}
