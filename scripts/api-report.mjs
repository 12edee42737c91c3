// @ts-check
/**
 * `npm run api-report`: writes docs/api-report.txt, the declarations that users of the package can reach, without
 * comments, so that a change of the public API shows in a review. test/api-report.test.ts compares it with dist/.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { ensureFacade, root } from './prepare.mjs'

/** The path of the report. */
export const path = join(root, 'docs', 'api-report.txt')

const dist = join(root, 'dist') + sep

/** The report of the declarations in dist/. */
export function report() {
  const entries = entryPoints()
  const program = ts.createProgram(Object.values(entries), {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    types: ['node'],
  })
  const checker = program.getTypeChecker()
  /** @type {Map<ts.Symbol, string[]>} the entry points of each symbol */
  const found = new Map()
  for (const [entry, file] of Object.entries(entries)) {
    const source = program.getSourceFile(file)
    const module = source && checker.getSymbolAtLocation(source)
    if (module === undefined) throw new Error(`${file} exports nothing`)
    for (const exported of checker.getExportsOfModule(module)) {
      const symbol = resolved(checker, exported)
      found.set(symbol, [...(found.get(symbol) ?? []), entry])
    }
  }
  // What the exported declarations name is reached, too. The map grows while it is walked.
  for (const [symbol] of found) {
    for (const statement of statementsOf(symbol)) {
      visit(statement, (node) => {
        const named = ts.isIdentifier(node) ? checker.getSymbolAtLocation(node) : undefined
        if (named === undefined) return
        const other = resolved(checker, named)
        if (!found.has(other) && statementsOf(other).length > 0) found.set(other, [])
      })
    }
  }
  const printer = ts.createPrinter({ removeComments: true })
  return [...found]
    .map(([symbol, from]) => {
      const texts = statementsOf(symbol).map((node) =>
        printer.printNode(ts.EmitHint.Unspecified, node, node.getSourceFile()),
      )
      return `// ${symbol.name}: ${from.length > 0 ? `exported by ${from.join(', ')}` : 'not exported, reached'}\n${texts.join('\n')}\n`
    })
    .sort()
    .join('\n')
}

/** The declarations of the entry points, by their names. */
function entryPoints() {
  /** @type {{ name: string, exports: Record<string, { types?: string } | string> }} */
  const { name, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  /** @type {Record<string, string>} */
  const files = {}
  for (const [entry, target] of Object.entries(exports)) {
    if (typeof target !== 'string' && target.types !== undefined)
      files[entry.replace('.', name)] = join(root, target.types)
  }
  return files
}

/**
 * @param {ts.TypeChecker} checker
 * @param {ts.Symbol} symbol
 */
function resolved(checker, symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}

/**
 * The statements at the top of a module of the package that declare a symbol.
 *
 * @param {ts.Symbol} symbol
 * @returns {ts.Node[]}
 */
function statementsOf(symbol) {
  return (symbol.declarations ?? [])
    .map((node) => (ts.isVariableDeclaration(node) ? node.parent.parent : node))
    .filter(
      (node) => ts.isSourceFile(node.parent) && node.getSourceFile().fileName.startsWith(dist.split(sep).join('/')),
    )
}

/**
 * @param {ts.Node} node
 * @param {(node: ts.Node) => void} each
 */
function visit(node, each) {
  each(node)
  ts.forEachChild(node, (child) => visit(child, each))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  ensureFacade()
  writeFileSync(path, report())
  console.log(`${relative(root, path)} is written`)
}
