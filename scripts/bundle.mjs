// Makes one program of each process: its compiled files in dist/ and the packages that they import are joined to a few files in
// dist/bundles, under the same path. Node then opens a few files at a start instead of a thousand. A process is started from its bundle
// unless the bundle is older than the compiled files (libs/files, program-file.ts).
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiled = join(root, 'dist');
const bundles = join(compiled, 'bundles');

/** The processes and their threads. */
const programs = [
  'apps/cli/src/main',
  'apps/engine/src/main',
  'apps/orchestrator/src/main',
  'apps/orchestrator/src/engines/spawn-worker',
  'apps/orchestrator/src/event-sourcing/read-models/views-check-worker',
  'apps/orchestrator/src/run-inputs/program-worker',
  'libs/event-store/src/server-main',
  'libs/event-store/src/server/store/checkpoint-worker',
  'libs/model-files/src/chat-process',
  'libs/model-files/src/tokens/encode-worker',
  'libs/model-files/src/text-start-process',
  'libs/model-files/src/tokens/tokenizing-process',
  'libs/tasks/src/task-reading-process',
];

const external = [
  // These packages load files that lie beside them: native code, WebAssembly, or the text of a protocol.
  'highs',
  '@kurrent/bridge',
  'grpc-health-check',
  // Nest looks for these packages, and works without them.
  /^@nestjs\/(microservices|websockets|platform-express)/,
  /^class-(validator|transformer)/,
];

/** The packages that the dashboard is bundled with (vite). */
const OF_THE_DASHBOARD = [
  ...['@bufbuild/protobuf', '@connectrpc/connect', '@connectrpc/connect-web'],
  ...['dompurify', 'markdown-it', 'preact', 'uplot'],
];

const COMPILED_FOLDER = 'compiledFolder$'; // the name, in a bundle, for the address of dist/
const OF_PROGRAM = /programFile\(new URL\('([^']+)'/g;

/**
 * Loads a compiled file. Its own address is replaced by the one in dist/, because the files that it names lie beside it there, and not
 * beside the bundle.
 */
const ownPlace = {
  name: 'own-place',
  load(file) {
    if (!file.startsWith(compiled + sep)) return null;
    const code = readFileSync(file, 'utf8');
    for (const [, program] of code.matchAll(OF_PROGRAM)) {
      const started = relative(compiled, join(dirname(file), program)).replace(/\.js$/, '');
      if (!programs.includes(started)) throw new Error(`${started} is started by ${file}, but it is not bundled: scripts/bundle.mjs`);
    }
    const own = `new URL(${JSON.stringify(relative(compiled, file))}, ${COMPILED_FOLDER}).href`;
    return { code: code.replaceAll('import.meta.url', () => own), map: JSON.parse(readFileSync(`${file}.map`, 'utf8')) };
  },
};

const DATABASE = join(root, 'node_modules/better-sqlite3/lib/database.js');
const LOADING = "require('bindings')('better_sqlite3.node')";

/** Lets better-sqlite3 load the compiled SQLite of this installation (libs/files, installation.ts), and not one that lies beside it. */
const ownSqlite = {
  name: 'own-sqlite',
  load(file) {
    if (file !== DATABASE) return null;
    const code = readFileSync(file, 'utf8');
    if (!code.includes(LOADING)) throw new Error(`${file} loads its compiled part in another way than ${LOADING}`);
    const installation = join(compiled, 'libs/files/src/installation.js');
    return { code: code.replace(LOADING, () => `require(${JSON.stringify(installation)}).loadSqlite()`), map: null };
  },
};

rmSync(bundles, { recursive: true, force: true });
const bundle = await rolldown({
  cwd: root,
  platform: 'node',
  input: Object.fromEntries(programs.map((program) => [program, join(compiled, `${program}.js`)])),
  external,
  plugins: [ownPlace, ownSqlite],
  onLog: (level, log) => {
    if (level === 'warn') throw new Error(`${log.code}: ${log.message}`);
  },
});
const { output } = await bundle.write({
  dir: bundles,
  format: 'cjs', // a code cache can't be used for ES modules
  dynamicImportInCjs: false, // code from the cache can't import, so it requires packages that are not bundled
  sourcemap: true,
  intro: ({ fileName }) =>
    `const ${COMPILED_FOLDER} = new URL('${'../'.repeat(fileName.split('/').length)}', require('node:url').pathToFileURL(__filename));`,
  // The code cache finds a file by its name, so a file with other content needs another name.
  entryFileNames: '[name]-[hash].js',
  chunkFileNames: 'shared/[name]-[hash].js',
});
writeFileSync(join(bundles, 'package.json'), '{ "type": "commonjs" }\n');
copyFileSync(join(root, 'scripts/bundled-start.cjs'), join(bundles, 'start.js'));
for (const { isEntry, name, fileName } of output) {
  if (!isEntry) continue;
  const start = `${'../'.repeat(name.split('/').length - 1)}start.js`;
  writeFileSync(join(bundles, `${name}.js`), `require('${start}')('${name}', require.resolve('./${basename(fileName)}'));\n`);
}
writeFileSync(join(bundles, 'LICENSES.txt'), licences());

/** Returns the licences of the packages in the bundles. Bundles redistribute these packages, and most licences demand their text then. */
function licences() {
  const modules = output.flatMap(({ moduleIds = [] }) => moduleIds);
  const used = modules.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []);
  const folders = [...new Set([...used, ...OF_THE_DASHBOARD.map((name) => join(root, 'node_modules', name))])].sort();
  return folders.map(licenceOf).join(`\n${'-'.repeat(80)}\n\n`);
}

function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const texts = readdirSync(folder).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file) && existsSync(join(folder, file)));
  return `${name} ${version} (${license})\n\n${texts.map((file) => readFileSync(join(folder, file), 'utf8').trimEnd()).join('\n\n')}\n`;
}
