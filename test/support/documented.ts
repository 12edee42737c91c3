import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { root } from '../../scripts/prepare.mjs'

/**
 * The codes of errors in the `@throws` text of a call: those that it names, and those of the calls whose text it
 * refers to. The grammar of the text:
 *
 * - `ERR_COFFER_X` and `…_X` in backquotes are codes.
 * - "as {@link a}", also "as {@link a} and {@link b}", adds the codes of other calls.
 * - "except" takes the codes that follow it out of those of the other calls.
 * - "as the first form" is for an overload, and adds nothing.
 */
interface Text {
  readonly codes: ReadonlySet<string>
  readonly except: ReadonlySet<string>
  /** The names of the calls after "as". */
  readonly as: readonly string[]
}

/** A call of the package as its declaration has it. */
interface Call {
  /** The class that it is declared in, by the name under which users know it; undefined for a function. */
  readonly owner: string | undefined
  readonly text: Text
}

/** The class that users see in place of those that it is made of. */
const parts: ReadonlyMap<string, string> = new Map([
  ['CofferHandle', 'Coffer'],
  ['CofferReads', 'Coffer'],
  ['CofferWrites', 'Coffer'],
])

/** Classes and types that describe calls of others, and make none of their own. */
const leftOut: ReadonlySet<string> = new Set(['CofferReader', 'CofferWriter', 'CofferError'])

/**
 * The calls of the package with the codes that their documentation names: functions by their name, methods with that
 * of their class before it, as `Coffer.read`. Calls whose documentation names no code have an empty set.
 */
export function documented(): Map<string, ReadonlySet<string>> {
  const calls = callsOf(declarations())
  const resolved = new Map<string, ReadonlySet<string>>()
  const resolve = (name: string, from: readonly string[]): ReadonlySet<string> => {
    const known = resolved.get(name)
    if (known) return known
    if (from.includes(name)) throw new Error(`the @throws of ${[...from, name].join(', as ')} go around in a circle`)
    const call = calls.get(name)
    if (call === undefined) throw new Error(`the @throws of ${from.at(-1)} are as those of ${name}, which is no call`)
    const { codes, except, as } = call.text
    const all = new Set<string>()
    for (const other of as) {
      const called = calls.has(`${call.owner}.${other}`) ? `${call.owner}.${other}` : other
      for (const code of resolve(called, [...from, name])) all.add(code)
    }
    for (const code of except) {
      if (!all.delete(code)) throw new Error(`the @throws of ${name} except ${code}, which is not among the others`)
    }
    for (const code of codes) all.add(code)
    resolved.set(name, all)
    return all
  }
  for (const name of calls.keys()) resolve(name, [])
  return new Map([...resolved].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The codes of the type `ErrorCode`. */
export function errorCodes(): string[] {
  const codes: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteral(node) && node.text.startsWith('ERR_COFFER_')) codes.push(node.text)
    ts.forEachChild(node, visit)
  }
  visit(parsed(join(root, 'dist', 'errors.d.ts')))
  return codes
}

function parsed(file: string): ts.SourceFile {
  return ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true)
}

/** The classes and functions that users reach, with the classes that those extend. */
function declarations(): (ts.ClassDeclaration | ts.FunctionDeclaration)[] {
  const entries = ['index.d.ts', 'entry/plugin.d.ts'].map((name) => join(root, 'dist', name))
  const program = ts.createProgram(entries, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    // The names of the package are enough.
    noLib: true,
    types: [],
  })
  const checker = program.getTypeChecker()
  const found = new Set<ts.ClassDeclaration | ts.FunctionDeclaration>()
  const take = (symbol: ts.Symbol | undefined): void => {
    if (symbol === undefined) return
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    for (const node of target.declarations ?? []) {
      if (found.has(node as ts.ClassDeclaration) || !isOurs(node)) continue
      if (ts.isFunctionDeclaration(node)) found.add(node)
      if (!ts.isClassDeclaration(node) || leftOut.has(target.name)) continue
      found.add(node)
      for (const { types } of node.heritageClauses ?? []) {
        for (const { expression } of types) take(checker.getSymbolAtLocation(expression))
      }
    }
  }
  for (const entry of entries) {
    const source = program.getSourceFile(entry)
    const module = source && checker.getSymbolAtLocation(source)
    if (module === undefined) throw new Error(`${entry} exports nothing`)
    for (const symbol of checker.getExportsOfModule(module)) take(symbol)
  }
  return [...found]
}

function isOurs(node: ts.Node): boolean {
  return node.getSourceFile().fileName.includes('/dist/') && !node.getSourceFile().fileName.includes('/node_modules/')
}

function callsOf(nodes: readonly (ts.ClassDeclaration | ts.FunctionDeclaration)[]): Map<string, Call> {
  const calls = new Map<string, Call>()
  const add = (name: string, owner: string | undefined, node: ts.Node): void => {
    const text = textOf(node)
    const before = calls.get(name)
    // The forms of a call are one.
    calls.set(name, { owner, text: before === undefined ? text : both(before.text, text) })
  }
  for (const node of nodes) {
    const name = node.name?.text ?? ''
    if (ts.isFunctionDeclaration(node)) {
      add(name, undefined, node)
      continue
    }
    const owner = parts.get(name) ?? name
    for (const member of node.members) {
      if (ts.isMethodDeclaration(member) || ts.isGetAccessor(member)) add(`${owner}.${nameOf(member)}`, owner, member)
    }
  }
  return calls
}

/** The name of a method: that of a well-known symbol without the brackets. */
function nameOf(member: ts.MethodDeclaration | ts.GetAccessorDeclaration): string {
  return member.name.getText().replace(/^\[(.*)\]$/, '$1')
}

function both(one: Text, other: Text): Text {
  return {
    codes: new Set([...one.codes, ...other.codes]),
    except: new Set([...one.except, ...other.except]),
    as: [...one.as, ...other.as],
  }
}

/** The text after `@throws` in the comment of a declaration: TypeScript takes the braces after it for a type. */
function textOf(node: ts.Node): Text {
  const comment = ts.getJSDocCommentsAndTags(node).at(-1)?.getText() ?? ''
  const tags = comment.replace(/\n\s*\*\/?/g, '\n').split(/^\s*@(?=[a-z]+\b)/m)
  return textIn(
    tags
      .filter((tag) => tag.startsWith('throws'))
      .join('. ')
      .replace(/\s+/g, ' '),
  )
}

/** What the text of a tag says. */
export function textIn(comment: string): Text {
  const excepting = /\bexcept ((?:`[^`]+`(?:, and | and |, )?)+)/g
  const except = [...comment.matchAll(excepting)].flatMap(([, codes = '']) => codesIn(codes))
  const rest = comment.replaceAll(excepting, '')
  const as = [...rest.matchAll(/\bas ((?:\{@link [\w.]+\}(?:, and | and |, )?)+)/g)].flatMap(([, links = '']) =>
    [...links.matchAll(/\{@link ([\w.]+)\}/g)].map(([, name = '']) => name),
  )
  return { codes: new Set(codesIn(rest)), except: new Set(except), as }
}

function codesIn(text: string): string[] {
  return [...text.matchAll(/`(?:ERR_COFFER|…)_([A-Z_]+)`/g)].map(([, code]) => `ERR_COFFER_${code}`)
}
