import type { Random } from './random.ts'

/** The bytes of a file, where its chunks or frames are, and those of a file with the same keys. */
export interface Original {
  readonly file: Buffer
  /** Where each piece begins and ends. */
  readonly pieces: readonly (readonly [start: number, end: number])[]
  /** How far into a piece its length stands. */
  readonly lengthAt: number
  readonly twin: Buffer
  readonly twinPieces: readonly (readonly [start: number, end: number])[]
  /** The files of other kinds. */
  readonly others: readonly Buffer[]
}

/** What is done to a file. */
export interface Change {
  readonly what: string
  readonly file: Buffer
  /** Whether bytes of the file with the same keys are in it. */
  readonly spliced: boolean
  /** Whether whole pieces are elsewhere than they were, or another number of times there. */
  readonly moved: boolean
}

type Make = (original: Original, random: Random) => Buffer

const flip: Make = ({ file }, random) => {
  const copy = Buffer.from(file)
  for (let count = 1 + random.below(3); count > 0; count -= 1) {
    const at = random.below(copy.length)
    copy.writeUInt8(copy.readUInt8(at) ^ (1 << random.below(8)), at)
  }
  return copy
}

const overwrite: Make = ({ file }, random) => {
  const copy = Buffer.from(file)
  random.bytes(1 + random.below(64)).copy(copy, random.below(copy.length))
  return copy
}

const cut: Make = ({ file }, random) => file.subarray(0, random.below(file.length))

const beheaded: Make = ({ file }, random) => file.subarray(1 + random.below(file.length))

const inserted: Make = ({ file }, random) => {
  const at = random.below(file.length + 1)
  return Buffer.concat([file.subarray(0, at), random.bytes(1 + random.below(300)), file.subarray(at)])
}

const lost: Make = ({ file }, random) => {
  const at = random.below(file.length)
  return Buffer.concat([file.subarray(0, at), file.subarray(at + 1 + random.below(300))])
}

/** The length that a piece says it has: nothing, too little, too much, as much as there can be. */
const length: Make = ({ file, pieces, lengthAt }, random) => {
  const copy = Buffer.from(file)
  const [start] = random.of(pieces) ?? [0]
  const lengths = [0, 1, 31, 0x00ff_ffff, 0x0100_0000, 0x0100_0001, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as const
  if (start + lengthAt + 4 <= copy.length) copy.writeUInt32LE(random.of(lengths), start + lengthAt)
  return copy
}

const joined = ({ file, pieces }: Original, order: readonly number[]): Buffer =>
  Buffer.concat(order.map((index) => file.subarray(...(pieces[index] ?? [0, 0]))))

const swapped: Make = (original, random) => {
  const order = [...original.pieces.keys()]
  const [one, other] = [random.below(order.length), random.below(order.length)]
  return joined(original, order.with(one, other).with(other, one))
}

const repeated: Make = (original, random) => {
  const order = [...original.pieces.keys()]
  return joined(original, order.toSpliced(random.below(order.length + 1), 0, random.below(order.length)))
}

const dropped: Make = (original, random) => {
  const order = [...original.pieces.keys()]
  return joined(original, order.toSpliced(random.below(order.length), 1))
}

/** The beginning of one file, and the end of the other. */
const spliced: Make = ({ file, pieces, twin, twinPieces }, random) => {
  const [at] = random.of(pieces) ?? [0]
  const [from] = random.of(twinPieces) ?? [0]
  return Buffer.concat([file.subarray(0, at), twin.subarray(from)])
}

/** A piece of the other file in the place of one of this. */
const replaced: Make = ({ file, pieces, twin, twinPieces }, random) => {
  const index = random.below(pieces.length)
  const [start, end] = pieces[index] ?? [0, 0]
  const [from, to] = (random.below(2) === 0 ? twinPieces[index] : random.of(twinPieces)) ?? [0, 0]
  return Buffer.concat([file.subarray(0, start), twin.subarray(from, to), file.subarray(end)])
}

/** All of the other file behind this one. */
const followed: Make = ({ file, twin }) => Buffer.concat([file, twin])

const junk: Make = (_, random) => random.bytes(random.below(random.of([16, 64, 600, 5_000])))

/** Junk that begins as a file of ours does. */
const promising: Make = ({ file }, random) =>
  Buffer.concat([file.subarray(0, random.below(64)), random.bytes(random.below(600))])

const nothing: Make = () => Buffer.alloc(0)

const zeros: Make = (_, random) => Buffer.alloc(random.below(5_000))

const another: Make = ({ others }, random) => random.of(others) ?? Buffer.alloc(0)

const makes: readonly [string, Make, spliced: boolean, moved: boolean][] = [
  ['flip', flip, false, false],
  ['flip', flip, false, false],
  ['cut', cut, false, false],
  ['length', length, false, false],
  ['overwrite', overwrite, false, false],
  ['inserted', inserted, false, false],
  ['lost', lost, false, true],
  ['beheaded', beheaded, false, true],
  ['swapped', swapped, false, true],
  ['repeated', repeated, false, true],
  ['dropped', dropped, false, true],
  ['spliced', spliced, true, true],
  ['replaced', replaced, true, true],
  ['followed', followed, true, true],
  ['junk', junk, false, false],
  ['promising', promising, false, false],
  ['another kind', another, false, false],
  ['nothing', nothing, false, false],
  ['zeros', zeros, false, false],
]

/** One change of a file, chosen at random. */
export function change(original: Original, random: Random): Change {
  const [what, make, isSpliced, moved] = random.of(makes) ?? ['nothing', nothing, false, false]
  return { what, file: make(original, random), spliced: isSpliced, moved }
}
