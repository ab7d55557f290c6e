/**
 * Facts of one source file, read from the compiler's own syntax tree: what it imports, which free names it
 * uses, how long its functions are. Judging them is the business of `judge.ts`.
 *
 * The tree comes from TypeScript 7's `unstable` API. It is pinned with the compiler in package.json; if an
 * upgrade changes it, this file alone has to follow.
 */
import { resolve } from "node:path";
import { type Node, type SourceFile, SyntaxKind } from "typescript/unstable/ast";
import * as is from "typescript/unstable/ast/is";
import { createVirtualFileSystem } from "typescript/unstable/fs";
import { API, type Checker, SymbolFlags } from "typescript/unstable/sync";
import { IMPURE_NAMES, RUNTIME_NAMES, WORLD_NAMES } from "./rules.ts";

/** Names worth asking the compiler about: is this the global, or a variable that happens to be called so? */
const SUSPECTS: ReadonlySet<string> = new Set([...WORLD_NAMES, ...IMPURE_NAMES, ...RUNTIME_NAMES]);

export type ImportFact = { specifier: string; typesOnly: boolean; line: number };
export type NameFact = { name: string; line: number };
export type FunctionFact = { name: string; lineCount: number; line: number };
export type FileFacts = {
  /** Relative to the repository, with forward slashes. */
  path: string;
  text: string;
  lineCount: number;
  imports: ImportFact[];
  /** Suspect globals ("Date"), members of them ("Math.random"), any member (".localeCompare"), "async", "await". */
  names: NameFact[];
  functions: FunctionFact[];
  defaultExports: number[];
};

/** Facts of every file that the project in `root` compiles. */
export function scanProject(root: string): FileFacts[] {
  return scan(new API({ cwd: root }), resolve(root));
}

/** Facts of files that exist only here: how the judge itself is tested. */
export function scanSamples(samples: Readonly<Record<string, string>>): FileFacts[] {
  const files: Record<string, string> = {
    "/sample/tsconfig.json": JSON.stringify({ compilerOptions: { noLib: true, types: [] }, files: [] }),
  };
  const names = Object.keys(samples);
  files["/sample/tsconfig.json"] = JSON.stringify({
    compilerOptions: {
      noLib: true,
      types: [],
      noResolve: true,
      allowImportingTsExtensions: true,
      noEmit: true,
    },
    files: names,
  });
  for (const name of names) files[`/sample/${name}`] = samples[name] ?? "";
  return scan(new API({ cwd: "/sample", fs: createVirtualFileSystem(files) }), "/sample");
}

function scan(api: API, root: string): FileFacts[] {
  try {
    const project = api.updateSnapshot({ openProject: `${root}/tsconfig.json` }).getProjects()[0];
    if (project === undefined) throw new Error(`no TypeScript project in ${root}`);
    return project.rootFiles.map((name) => {
      const source = project.program.getSourceFile(name);
      if (source === undefined) throw new Error(`the compiler does not know ${name}`);
      return scanFile(name.slice(root.length + 1), source, project.checker);
    });
  } finally {
    api.close();
  }
}

function scanFile(path: string, source: SourceFile, checker: Checker): FileFacts {
  const facts: FileFacts = {
    path,
    text: source.text,
    lineCount: source.text.split("\n").length - (source.text.endsWith("\n") ? 1 : 0),
    imports: [],
    names: [],
    functions: [],
    defaultExports: [],
  };
  const visit = (node: Node): void => {
    const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
    noteImport(node, line, facts.imports);
    noteName(node, line, checker, facts.names);
    if (isDefaultExport(node)) facts.defaultExports.push(line);
    if (isMeasured(node, path)) {
      const end = source.getLineAndCharacterOfPosition(node.getEnd()).line + 1;
      facts.functions.push({ name: functionName(node), lineCount: end - line + 1, line });
    }
    node.forEachChild(visit);
  };
  visit(source);
  return facts;
}

function noteImport(node: Node, line: number, to: ImportFact[]): void {
  if (is.isImportDeclaration(node)) {
    to.push({
      specifier: textOf(node.moduleSpecifier),
      typesOnly: importsTypesOnly(node.importClause),
      line,
    });
  } else if (is.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
    to.push({ specifier: textOf(node.moduleSpecifier), typesOnly: node.isTypeOnly, line });
  } else if (is.isImportTypeNode(node) && is.isLiteralTypeNode(node.argument)) {
    to.push({ specifier: textOf(node.argument.literal), typesOnly: true, line });
  } else if (is.isCallExpression(node) && node.expression.kind === SyntaxKind.ImportKeyword) {
    to.push({ specifier: textOf(node.arguments[0]), typesOnly: false, line });
  }
}

/** `import { type A, type B }` loads the module under verbatimModuleSyntax: only `import type` is types only. */
function importsTypesOnly(clause: Node | undefined): boolean {
  if (clause === undefined || !is.isImportClause(clause)) return false;
  return clause.phaseModifier === SyntaxKind.TypeKeyword;
}

function textOf(node: Node | undefined): string {
  return node !== undefined && is.isStringLiteral(node) ? node.text : "(computed)";
}

function noteName(node: Node, line: number, checker: Checker, to: NameFact[]): void {
  if (is.isIdentifier(node)) {
    if (SUSPECTS.has(node.text) && isReference(node) && isGlobal(node.text, node, checker)) {
      to.push({ name: node.text, line });
    }
  } else if (is.isPropertyAccessExpression(node)) {
    to.push({ name: `.${node.name.text}`, line });
    if (is.isIdentifier(node.expression))
      to.push({ name: `${node.expression.text}.${node.name.text}`, line });
  } else if (is.isMetaProperty(node) && node.keywordToken === SyntaxKind.ImportKeyword) {
    to.push({ name: "import.meta", line });
  } else if (is.isAwaitExpression(node) || node.kind === SyntaxKind.AwaitKeyword)
    to.push({ name: "await", line });
  else if (node.kind === SyntaxKind.AsyncKeyword) to.push({ name: "async", line });
}

/** Whether the identifier stands for a value or a type, rather than naming a member or a declaration. */
function isReference(node: Node): boolean {
  const parent = node.parent;
  if (is.isShorthandPropertyAssignment(parent)) return true;
  if (is.isQualifiedName(parent)) return parent.left === node;
  const { name, propertyName } = parent as { name?: Node; propertyName?: Node };
  return name !== node && propertyName !== node;
}

function isGlobal(name: string, at: Node, checker: Checker): boolean {
  const meaning = SymbolFlags.Value | SymbolFlags.Type;
  return checker.resolveName(name, meaning, at, true) === undefined;
}

function isDefaultExport(node: Node): boolean {
  if (is.isExportAssignment(node)) return true;
  if (is.isExportSpecifier(node)) return textOfName(node.name) === "default";
  return node.kind === SyntaxKind.DefaultKeyword && !is.isDefaultClause(node.parent);
}

/** In tests, the body given to `t.test(..)` is a chapter, not a function: only named functions are measured. */
function isMeasured(node: Node, path: string): boolean {
  if (is.isArrowFunction(node) || is.isFunctionExpression(node)) {
    return !path.startsWith("test/") || !is.isCallExpression(node.parent);
  }
  return (
    is.isFunctionDeclaration(node) ||
    is.isMethodDeclaration(node) ||
    is.isConstructorDeclaration(node) ||
    is.isGetAccessorDeclaration(node) ||
    is.isSetAccessorDeclaration(node)
  );
}

function functionName(node: Node): string {
  const own = textOfName((node as { name?: Node }).name);
  if (is.isConstructorDeclaration(node)) return `${ownerName(node)}.constructor`;
  if (is.isMethodDeclaration(node)) return `${ownerName(node)}.${own}`;
  return own || textOfName((node.parent as { name?: Node }).name) || "(anonymous)";
}

function ownerName(node: Node): string {
  return textOfName((node.parent as { name?: Node }).name) || "(object)";
}

function textOfName(node: Node | undefined): string {
  if (node === undefined) return "";
  return is.isIdentifier(node) || is.isPrivateIdentifier(node) || is.isStringLiteral(node) ? node.text : "";
}
