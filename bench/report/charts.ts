/** Bar charts as SVG, legible on light and dark pages alike. */
import { rounded } from './format.ts'

export interface Bar {
  readonly label: string
  readonly value: number
  /** Coffer's own bars stand out. */
  readonly ours: boolean
}

const LABEL = 210
const WIDTH = 720
const ROW = 24
const TOP = 44

/** One chart: shorter is better, unless its title says otherwise. */
export function chart(title: string, unit: string, bars: readonly Bar[]): string {
  const most = Math.max(...bars.map(({ value }) => value))
  const height = TOP + bars.length * ROW + 10
  const room = WIDTH - LABEL - 90
  const rows = bars.map(({ label, value, ours }, index) => {
    const y = TOP + index * ROW
    const width = Math.max(1, (value / most) * room)
    return [
      `<text x="${LABEL - 8}" y="${y + 15}" text-anchor="end">${escaped(label)}</text>`,
      `<rect x="${LABEL}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 8}" rx="2" fill="${ours ? '#0b7285' : '#adb5bd'}"/>`,
      `<text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 15}">${rounded(value)} ${unit}</text>`,
    ].join('\n')
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}">
<rect width="${WIDTH}" height="${height}" rx="6" fill="#ffffff"/>
<g font-family="system-ui, sans-serif" font-size="12" fill="#212529">
<text x="14" y="26" font-size="15" font-weight="600">${escaped(title)}</text>
${rows.join('\n')}
</g>
</svg>
`
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')
}
