import type { CofferProgress } from '../../progress.ts'
import { bytes, clearBefore, escaped, manner } from './output.ts'

const BAR_COLUMNS = 20
const GAP = '  '
const CLEAR_LINE = '\r\x1b[2K'
const MS_PER_S = 1000

/** A progress bar on one line of a terminal; without a terminal it shows nothing. */
export class ProgressBar {
  readonly #label: string
  readonly #started = performance.now()
  readonly #visible: boolean
  #drawn = false
  #before = { bytes: 0, members: 0 }
  #last: CofferProgress = { bytes: 0, members: 0 }

  /** @param visible whether it may be shown: not if the output itself goes to the terminal */
  constructor(label: string, visible = true) {
    this.#label = label
    this.#visible = visible && process.stderr.isTTY === true && !manner.quiet && !manner.json
  }

  /** The `onProgress` of long calls. */
  readonly update = (progress: CofferProgress): void => {
    this.#last = progress
    if (!this.#visible) return
    this.#drawn = true
    clearBefore(() => this.clear())
    const columns = process.stderr.columns || 80
    process.stderr.write(CLEAR_LINE + fitted(this.#parts(progress), columns - 1))
  }

  /** Begins the next part of the work. */
  next(): void {
    this.#before = {
      bytes: this.#before.bytes + this.#last.bytes,
      members: this.#before.members + this.#last.members,
    }
    this.#last = { bytes: 0, members: 0 }
  }

  /** Clears the line. */
  clear(): void {
    if (this.#drawn) process.stderr.write(CLEAR_LINE)
    this.#drawn = false
  }

  /** The parts of the line, from left to right; parts with a high rank are dropped first on a narrow terminal. */
  #parts({ bytes: part, totalBytes, name }: CofferProgress): Part[] {
    const done = this.#before.bytes + part
    const seconds = (performance.now() - this.#started) / MS_PER_S
    const rate = seconds > 0 ? done / seconds : 0
    const label = { text: this.#label, rank: 4 }
    const figures = [
      { text: bytes(done), rank: 2 },
      { text: `${bytes(rate)}/s`, rank: 3 },
    ]
    const last = { text: escaped(name ?? ''), rank: 6 }
    if (totalBytes === undefined) return [label, ...figures, last]
    const ratio = totalBytes === 0 ? 1 : Math.min(1, part / totalBytes)
    const left = rate > 0 ? (totalBytes - part) / rate : 0
    const filled = Math.round(ratio * BAR_COLUMNS)
    const bar = `[${'#'.repeat(filled)}${'-'.repeat(BAR_COLUMNS - filled)}]`
    const percent = `${String(Math.floor(ratio * 100)).padStart(3)} %`
    return [
      label,
      { text: bar, rank: 5 },
      { text: percent, rank: 0 },
      ...figures,
      { text: `${duration(left)} left`, rank: 1 },
      last,
    ]
  }
}

interface Part {
  text: string
  rank: number
}

/** Joins the parts that fit on one line; a name is cut instead of dropped. */
function fitted(parts: readonly Part[], columns: number): string {
  const shown = parts.filter(({ text }) => text !== '')
  const length = (some: readonly Part[]) => some.map(({ text }) => text).join(GAP).length
  const name = shown.find(({ rank }) => rank === 6)
  if (name !== undefined) {
    const others = length(shown.filter((part) => part !== name))
    name.text = name.text.slice(0, Math.max(0, columns - others - GAP.length))
  }
  const kept = shown.filter(({ text }) => text !== '')
  while (length(kept) > columns && kept.length > 1) {
    const worst = Math.max(...kept.map(({ rank }) => rank))
    kept.splice(
      kept.findIndex(({ rank }) => rank === worst),
      1,
    )
  }
  return kept
    .map(({ text }) => text)
    .join(GAP)
    .slice(0, columns)
}

/** Formats seconds as minutes and seconds, or hours, minutes and seconds. */
function duration(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds))
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, '0'))
  const hours = Math.floor(whole / 3600)
  return hours > 0 ? `${hours}:${parts.join(':')}` : parts.join(':')
}

/** Runs a function with a progress bar, which is cleared at its end. */
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
