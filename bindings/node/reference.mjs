// Writes docs/JAVASCRIPT-API.md from index.d.ts: node reference.mjs TYPESCRIPT > docs/JAVASCRIPT-API.md, where TYPESCRIPT is the
// directory of that package. What is public and says nothing about itself is an error. A test compares.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { resolve } from 'node:path'

const ts = createRequire(import.meta.url)(resolve(process.argv[2], 'lib/typescript.js'))
const file = fileURLToPath(new URL('index.d.ts', import.meta.url))
const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true)
const missing = []

const text = node => node.getText(source).replace(/\s+/g, ' ')
const name = node => node.name?.getText(source) ?? 'constructor'
const isPrivate = node => ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(it => it.kind === ts.SyntaxKind.PrivateKeyword)

/** What is written above something; of something that has to have it, or it is missing. */
function said (node, owner) {
  const comment = node.jsDoc?.map(it => ts.getTextOfJSDocComment(it.comment)).join(' ')
  if (!comment && owner !== undefined) missing.push(`${owner}${name(node)}`)
  return comment ?? ''
}

/** A signature without the words around it. */
const signature = node => text(node).replace(/^(export |declare |private |static |function )*/, '').replace(/[;,]$/, '')

function classOf (node) {
  const lines = [`### \`${name(node)}\``, '', said(node, ''), '']
  for (const member of node.members) {
    if (isPrivate(member) || ts.isConstructorDeclaration(member)) continue
    const isStatic = ts.getModifiers(member)?.some(it => it.kind === ts.SyntaxKind.StaticKeyword)
    lines.push(`* \`${isStatic ? `${name(node)}.` : ''}${signature(member)}\`  `, `  ${said(member, `${name(node)}.`)}`)
  }
  return lines
}

function interfaceOf (node) {
  const above = (node.heritageClauses ?? []).flatMap(it => it.types).map(it => `those of \`${text(it)}\``)
  const members = node.members.map(it => {
    const about = said(it)
    return `\`${signature(it)}\`${about ? ` (${about.replace(/\.$/, '')})` : ''}`
  })
  return `| \`${name(node)}\` | ${said(node, '')} | ${[...above, ...members].join(', ').replaceAll('|', '\\|')} |`
}

const exported = source.statements.filter(it => ts.canHaveModifiers(it) && ts.getModifiers(it)?.some(it => it.kind === ts.SyntaxKind.ExportKeyword))
const page = [
  '# JavaScript: reference', '',
  'Made from the types by `bindings/node/reference.mjs`. [JAVASCRIPT.md](JAVASCRIPT.md) is where to begin; `spec/API.md` says what the operations mean.', ''
]
for (const node of exported) {
  if (ts.isFunctionDeclaration(node)) page.push(`### \`${signature(node)}\``, '', said(node, ''), '')
  else if (ts.isClassDeclaration(node)) page.push(...classOf(node), '')
}
page.push('## What goes in and comes out', '', '| | | members |', '|---|---|---|')
for (const node of exported) {
  if (ts.isInterfaceDeclaration(node)) page.push(interfaceOf(node))
  else if (ts.isTypeAliasDeclaration(node)) page.push(`| \`${name(node)}\` | ${said(node, '')} | \`${text(node.type).replaceAll('|', '\\|')}\` |`)
}
if (missing.length > 0) {
  console.error(`without documentation: ${missing.join(', ')}`)
  process.exit(1)
}
console.log(page.join('\n'))
