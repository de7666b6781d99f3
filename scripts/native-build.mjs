// The parts that the set-ups of a clone (setup.mjs) and of an installed package (build-engine.mjs) share: the system packages for a build
// of the native engine, and the choice whether the CUDA backend is built. It uses only Node's own modules.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const TOOLS = { cmake: 'cmake', 'g++': 'g++', make: 'make', python3: 'python3', 'pkg-config': 'pkg-config', zstd: 'zstd' };
const HEADERS = { 'libgtest-dev': 'gtest/gtest.h' };
/** The Debian packages that are needed to compile the engine. */
export const ENGINE_PACKAGES = ['cmake', 'g++', 'make'];

const NVCC = ['nvcc', '/usr/local/cuda/bin/nvcc', '/opt/cuda/bin/nvcc'];
const OLDEST_NVCC = 13;
const DRIVER_FILES = ['/proc/driver/nvidia/version', '/dev/nvidiactl', '/dev/dxg']; // /dev/dxg is a card seen through WSL

/** @returns the Debian packages of the list that are not installed */
export function missingPackages(names) {
  return names.filter((name) => !isInstalled(name));
}

export function hasApt() {
  return spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Says how to get the missing packages. */
export function missingInWords(missing) {
  return (
    `These system packages are missing: ${missing.join(' ')}\n` +
    (hasApt()
      ? `Install them with:  sudo apt-get update && sudo apt-get install -y ${missing.join(' ')}`
      : `Install your distribution's packages of the same tools and libraries.`)
  );
}

function isInstalled(name) {
  const asked = spawnSync('dpkg-query', ['-W', '-f', '${Status}', name], { encoding: 'utf8' });
  if (asked.status === 0) return asked.stdout.includes('ok installed');
  // The system is not Debian, or the package was installed by hand: look for the tools and headers of the package.
  if (TOOLS[name]) return spawnSync('sh', ['-c', `command -v ${TOOLS[name]}`], { stdio: 'ignore' }).status === 0;
  if (name === 'python3-grpcio')
    return spawnSync('/usr/bin/python3', ['-c', 'import grpc, google.protobuf'], { stdio: 'ignore' }).status === 0;
  return ['/usr/include', '/usr/local/include'].some((folder) => existsSync(join(folder, HEADERS[name])));
}

/**
 * Decides whether the CUDA backend is built (docs/design/cuda.md). Its kernels take minutes to compile, so they are not built on a machine
 * without a card.
 * @throws Error if ESPALIER_CUDA asks for a build that is not possible
 */
export function cudaChoice() {
  const asked = process.env.ESPALIER_CUDA?.toUpperCase();
  if (asked !== undefined && asked !== '' && !['ON', 'OFF'].includes(asked))
    throw new Error(`ESPALIER_CUDA must be ON or OFF, not ${process.env.ESPALIER_CUDA}.`);
  const version = nvccVersion();
  const without = (why) => ({ build: false, id: 'without CUDA', said: `without the CUDA backend: ${why}` });
  const built = { build: true, id: `with nvcc ${version}`, said: `with the CUDA backend (nvcc ${version})` };
  if (asked === 'OFF') return without('ESPALIER_CUDA is OFF');
  if (version === null) {
    if (asked === 'ON') throw new Error('ESPALIER_CUDA is ON, but nvcc is neither on the PATH nor in /usr/local/cuda or /opt/cuda.');
    return without('nvcc is not here');
  }
  if (asked === 'ON') return built;
  if (Number(version.split('.')[0]) < OLDEST_NVCC)
    return without(`nvcc ${version} is older than ${OLDEST_NVCC}, the oldest that was tried (ESPALIER_CUDA=ON builds it all the same)`);
  if (!DRIVER_FILES.some((path) => existsSync(path)))
    return without('no NVIDIA driver is loaded here (ESPALIER_CUDA=ON builds it all the same)');
  return built;
}

function nvccVersion() {
  for (const command of [...(process.env.CUDA_HOME ? [join(process.env.CUDA_HOME, 'bin/nvcc')] : []), ...NVCC]) {
    const asked = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (asked.status === 0) return /release (\d+\.\d+)/.exec(asked.stdout)?.[1] ?? '0.0';
  }
  return null;
}

/** Runs a command to its end, and keeps its output. @param show called with each piece of the output */
export function ended(command, args, { onChild = () => {}, show = () => {}, ...options } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const said = { output: '' };
    onChild(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        said.output += text;
        show(text);
      });
    }
    child.on('error', (error) => (said.error = error.message));
    child.on('close', (code, signal) => resolve({ status: code ?? signal, said }));
  });
}

/** Returns the end of the output of a command that failed. */
export function failureInWords(command, args, { status, said }) {
  const tail = said.output.trimEnd().split('\n').slice(-60).join('\n');
  return `${command} ${args.join(' ')} failed (${said.error ?? `exit ${status}`})\n${tail}`;
}
