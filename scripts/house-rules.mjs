#!/usr/bin/env node
// Checks import rules of the native sources, and rules of the whole tree that no linter checks: lines fit, comments name
// their subject, pages name existing files, and no file holds a path of a machine or the address of a registry.
// With --sizes it lists files and functions that are longer than is good to read. That is advice, and fails nothing.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

// Sizes beyond which a file or a function is worth a look (--sizes).
const longFileLines = 320;
const longFunctionLines = 90;
const maxLineLength = 140;
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' })
  .trim()
  .split('\n')
  .filter((f) => existsSync(f));
const problems = [];
const long = [];
const paths = files.map((file) => `/${file}`);
const namedFolders = new Set(files.flatMap((file) => file.split('/').slice(0, -1)));

// For each folder of native-engine, the other folders whose headers it may include, as native-engine/README.md says. A public header
// (core/include/espalier) belongs to the folder of the core that its own folder is named after. A folder that may not include the other
// headers of that folder may not include the public ones either.
const nativeImports = {
  'core/base': [],
  'core/device': ['base', 'model'],
  'core/files': ['base'],
  'core/model': ['base', 'files'],
  'core/method': ['base', 'files', 'model'],
  'core/state': ['base', 'files', 'method', 'model'],
  'core/on_device': ['base', 'device', 'files', 'method', 'model'],
  'core/step': ['base', 'device', 'files', 'method', 'model', 'on_device'],
  'core/training': ['base', 'device', 'files', 'method', 'model', 'on_device', 'state', 'step'],
  'core/evaluation': ['base', 'device', 'files', 'method', 'model', 'on_device', 'step', 'training'],
  'core/export': ['base', 'files', 'method', 'model'],
  'core/generation': ['base', 'device', 'method', 'model', 'on_device', 'step', 'training'],
  'core/session': ['base', 'device', 'files', 'method', 'model', 'on_device', 'step', 'training', 'evaluation', 'export', 'generation'],
  backends: ['base', 'device', 'model'],
  addon: ['base', 'device', 'files', 'method', 'session', 'training'],
};
for (const file of files) {
  if (
    !/\.(cpp|h|cu|cuh|tsx?|mjs|js|cjs|md|json|proto|yaml|yml|txt|sh|cmake)$/.test(file) ||
    /package-lock\.json|^examples\/|^testdata\//.test(file)
  )
    continue;
  const lines = readFileSync(file, 'utf8').split('\n');
  if (/^native-engine\/(?!tests\/).*\.(cpp|h|cu|cuh)$/.test(file)) {
    noteSizes(file, lines);
    checkImports(file, lines);
  }
  checkText(file, lines);
  if (file.endsWith('.md')) {
    checkNames(file, lines);
    lines.forEach((line, i) => checkSubject(file, i, line));
  }
  lines.forEach((line, i) => {
    if (/^(apps|libs)\/.*\/src\/.*(?<!\.test)\.ts$/.test(file) && /\bmkdir(Sync)?\(.*recursive/.test(line))
      problems.push(`${file}:${i + 1}: makes folders by Node's "recursive", which may never come back: makeFolder of #files`);
    if (file !== 'scripts/house-rules.mjs' && /\/work\/|registry\.npmjs\.org|deb\.debian\.org/.test(line))
      problems.push(`${file}:${i + 1}: names a machine's path or a registry`);
  });
}

// Checks that a sentence names who acts: a user, a client, an engine.
function checkSubject(file, i, text) {
  const word = /\b(nobody|somebody|whoever)\b/i.exec(text)?.[0];
  if (word !== undefined) problems.push(`${file}:${i + 1}: "${word}" hides the subject`);
}

// Checks that the title of a test names its subject, too: "an earlier login" in place of "the login of before".
function checkTitle(file, i, title) {
  checkSubject(file, i, title);
  const words = /\b(anybody|of before|that (is|are) none)\b/i.exec(title)?.[0];
  if (words !== undefined) problems.push(`${file}:${i + 1}: "${words}" hides the subject`);
}

// Checks that lines fit, except lines that can't be broken: a regular expression, the text of a document, a published configuration. Checks
// that a comment begins with its subject, and that comments and the titles of tests name who acts.
function checkText(file, lines) {
  if (!/\.(cpp|h|cu|cuh|tsx?|mjs|js|cjs|proto|sh|cmake|py)$|CMakeLists\.txt$/.test(file)) return;
  const hash = /\.(sh|cmake|py|txt)$/.test(file);
  lines.forEach((line, i) => {
    if (line.length > maxLineLength && !/^\s*(\/[^/*]|\{?"|.*R"|.*\\`)/.test(line)) {
      problems.push(`${file}:${i + 1}: ${line.length} characters, at most ${maxLineLength}`);
    }
    const comment = (hash ? /(?:^|\s)#\s+(.*)/ : /(?:^|[\s;{(,])(?:\/\/[/!<]*|\/\*\*?|\*(?!\/))\s+(.*)/).exec(line)?.[1];
    if (comment !== undefined && /^(Of|What)\b/.test(comment)) {
      problems.push(`${file}:${i + 1}: a comment that begins with "${comment.split(' ')[0]}" hides its subject`);
    }
    const title = /\.test\.tsx?$/.test(file) ? /^\s*(?:it|test|describe)(?:\.\w+)*\(.*?(['"`])(.*)\1/.exec(line)?.[2] : undefined;
    if (comment !== undefined) checkSubject(file, i, comment);
    if (title !== undefined) checkTitle(file, i, title);
  });
}

// Checks that the files and folders that a page names exist. A name is a path like `core/step/step.cpp`, or its last part, with or without
// the ending, or a link from the page's folder. Names in capitals stand for many names, and folders outside the tree (dist/, artifacts/)
// are not checked.
function checkNames(file, lines) {
  lines.forEach((line, i) => {
    const missing = (name) => problems.push(`${file}:${i + 1}: names ${name}, which is not there`);
    for (const [, link] of line.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g))
      if (!/^[a-z]+:/.test(link) && !existsSync(normalize(join(dirname(file), link)))) missing(link);
    for (const [, name] of line.matchAll(/`([\w.-]+(?:\/[\w.-]+)*)\/?`/g)) {
      const isSource = /\.(cpp|h|cu|cuh|tsx?|mjs|cjs|proto|sh|py|cmake|md)$/.test(name);
      const isPath = name.includes('/') && namedFolders.has(name.slice(0, name.indexOf('/')));
      if ((isSource || isPath) && !/\b[A-Z]{2,}\b/.test(name.replace(/[A-Z]+\.md$/, '')) && !isNamed(name)) missing(name);
    }
  });
}

function isNamed(name) {
  const at = `/${name}`;
  return paths.some((path) => path.endsWith(at) || path.includes(`${at}/`) || path.includes(`${at}.`));
}

// A signature may take several lines. The function's body ends at the indentation of its first line.
function signatureIndent(lines, at) {
  let first = at;
  while (first > 0 && /^ {3}/.test(lines[first])) first -= 1;
  return /^ */.exec(lines[first])[0];
}

function checkImports(file, lines) {
  const path = file.slice('native-engine/'.length);
  const folder = folderOf(path.replace('core/include/espalier/', 'core/'), Object.keys(nativeImports));
  if (nativeImports[folder] === undefined) {
    if (/^core\//.test(path)) problems.push(`${file}: its import rule is missing`);
    return;
  }
  lines.forEach((line, i) => {
    const wrong = (what) => problems.push(`${file}:${i + 1}: ${folder} must not ${what}`);
    const system = /^#include <([^>]+)>/.exec(line)?.[1];
    if (system !== undefined && /napi|node_api|^v8/.test(system) && folder !== 'addon') wrong('know Node');
    if (system !== undefined && /omp\.h|cuda/.test(system) && folder !== 'backends') wrong('know a device');
    const header = /^#include "([^"]+)"/.exec(line)?.[1];
    const to = header?.includes('/') ? header.slice(0, header.indexOf('/')) : undefined;
    const own = folder.slice(folder.indexOf('/') + 1);
    const inOwnFolder = to === undefined ? !path.startsWith('core/') : to === own || (!path.startsWith('core/') && isIn(folder, header));
    const from = to === 'espalier' ? header.split('/')[1] : to;
    if (header !== undefined && from !== own && !inOwnFolder && !nativeImports[folder].includes(from)) wrong(`include ${header}`);
    if (path.startsWith('core/') && /"cpu"/.test(line)) wrong('name a backend');
  });
}

function folderOf(path, folders) {
  return folders.find((one) => path.startsWith(`${one}/`));
}

function isIn(folder, header) {
  return files.some((file) => file.startsWith(`native-engine/${folder}/`) && file.endsWith(`/${header}`));
}

function noteSizes(file, lines) {
  if (lines.length > longFileLines + 1) long.push(`${file}: ${lines.length} lines`);
  // A function's body opens with "{" at the end of a line in column 0 to 2, and closes at the same indentation.
  let open = null;
  lines.forEach((line, i) => {
    const starts = /^( {0,2})[\w:<>,*&~\[\] ].*\)( const| noexcept| override)*( ->[^{]*)? \{$/.exec(line);
    if (open === null && starts && !/^\s*(if|for|while|switch|namespace|class|struct)\b/.test(line))
      open = { line: i, indent: signatureIndent(lines, i) };
    else if (open !== null && line.startsWith(`${open.indent}}`)) {
      if (i - open.line > longFunctionLines) long.push(`${file}:${open.line + 1}: a function of ${i - open.line} lines`);
      open = null;
    }
  });
}

for (const problem of problems) console.log(problem);
if (process.argv.includes('--sizes')) for (const one of long) console.log(`long: ${one}`);
process.exit(problems.length === 0 ? 0 : 1);
