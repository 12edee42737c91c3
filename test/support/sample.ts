import { lines, noise } from './bytes.ts'

/** 65,504 bytes are PyCoffer's chunk, so one less and one more are where framing goes wrong. */
export const sizes = [0, 1, 65_503, 65_504, 65_505, 1_200_001] as const

/** Names in several scripts, long ones, and ones that look like options, globs or escapes. */
export const awkwardNames = [
  'ascii.txt',
  'mit Leerzeichen und Umläuten äöü ß.txt',
  'Ελληνικά/κείμενο.txt',
  'русский/файл.txt',
  '日本語/ファイル.txt',
  'العربية/ملف.txt',
  'ไทย/แฟ้ม.txt',
  'emoji/🗝️📦.bin',
  'decomposed/e\u0301.txt',
  'composed/\u00e9.txt',
  '-starts-with-a-dash',
  'has*glob?[chars]',
  'back\\slash',
  'quote\'s "and" $dollars',
  '.hidden',
  'dots..inside/a..b',
  ` leading and trailing spaces `,
  `${'n'.repeat(100)}`,
  `${'n'.repeat(101)}`,
  `${'component/'.repeat(9)}${'over-one-hundred-bytes'}`,
  `${'d'.repeat(120)}/${'e'.repeat(120)}/${'over-two-hundred-and-fifty-five-bytes'.repeat(2)}`,
  `${'語'.repeat(85)}`,
  `${'ж'.repeat(100)}/${'щ'.repeat(100)}/${'ю'.repeat(60)}`,
] as const

/** Members of every awkward size, 200 small ones, nested directories and awkward names. */
export function sampleMembers(): Map<string, Buffer> {
  const members = new Map<string, Buffer>()
  for (const size of sizes) members.set(`sizes/noise-${size}.bin`, noise(size, `size ${size}`))
  members.set('sizes/text-1200001.txt', Buffer.from(lines(40_000).join('\n')).subarray(0, 1_200_001))
  for (let index = 0; index < 200; index += 1) {
    members.set(`small/${String(index).padStart(3, '0')}.txt`, Buffer.from(`small member number ${index}\n`))
  }
  members.set('deep/a/b/c/d/e/f/g/h/leaf.bin', noise(777, 'leaf'))
  members.set('deep/a/b/other.bin', noise(7_777, 'other'))
  for (const name of awkwardNames) members.set(name, Buffer.from(`contents of ${name}`))
  return members
}
