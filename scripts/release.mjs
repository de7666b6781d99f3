#!/usr/bin/env node
// Makes a release of the version in package.json: its package, the packages with the compiled engine, the contexts of its images, its notes
// and its tag. It pushes nothing. It runs as root, since it compiles in a chroot (engine-packages/main.mjs).
//   npm run release             makes all into dist/release
//   npm run release -- --check  only says what is missing
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const tag = `v${version}`;
const given = process.argv.slice(2);
const unknown = given.find((one) => one !== '--check');
if (unknown !== undefined) fail([`${unknown} is not an option: --check is allowed`]);

const notes = notesOf(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'));
const folder = `testdata/released-folders/${version}.tar.gz`;
const missing = [
  ...(notes === null ? [`CHANGELOG.md has no section "## [${version}] - YYYY-MM-DD": give the section Unreleased this title`] : []),
  ...(existsSync(join(root, folder)) ? [] : [`${folder} is missing: npm run record-folder makes it, and it is committed`]),
  ...(git('status', '--porcelain') === '' ? [] : ['files are not committed: git status names them']),
  ...(git('tag', '--list', tag) === '' ? [] : [`the tag ${tag} is there already: raise the version of package.json`]),
];
if (missing.length > 0) fail(missing);
if (given.includes('--check')) {
  console.log(`all is there for ${tag}`);
  process.exit(0);
}

const release = join(root, 'dist/release');
const images = join(release, 'images');
rmSync(release, { recursive: true, force: true });
mkdirSync(release, { recursive: true });
execFileSync(process.execPath, [join(root, 'scripts/engine-packages/pack.mjs'), release], { stdio: 'inherit' });
cpSync(join(root, 'deploy/images'), images, { recursive: true });
cpSync(join(release, `espalier-${version}.tgz`), join(images, `espalier-${version}.tgz`));
const file = join(release, 'notes.md');
writeFileSync(file, `# Espalier ${version}\n\n${notes}\n`);
git('tag', '--annotate', tag, '--cleanup=verbatim', '--file', file);
console.log(`${release} has the packages, the images' context and the notes. The tag is ${tag}: git push origin ${tag}`);

/** Returns the section of this version, without its title; null where the changelog lacks it. */
function notesOf(changelog) {
  const sections = changelog.split(/^## /m).slice(1);
  const title = new RegExp(`^\\[${version.replaceAll('.', '\\.')}\\] - \\d{4}-\\d{2}-\\d{2}\\n`);
  const section = sections.find((one) => title.test(one));
  return section === undefined ? null : section.slice(section.indexOf('\n')).trim();
}

function git(...args) {
  return execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
}

function fail(problems) {
  for (const problem of problems) console.error(problem);
  process.exit(1);
}
