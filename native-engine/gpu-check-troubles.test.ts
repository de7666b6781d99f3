// The check of a card (tools/gpu_check.sh) on a machine that lacks something, and where its work is disturbed: its words and exit statuses.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { call, card, CHECK, check, WITHOUT_OTHER_TOOLS, unwrapped, writeStandIns, writeToolkit } from './gpu-check-testing.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-gpu-check-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function standIns(name: string, changed: Record<string, string> = {}): string {
  writeStandIns(join(folder, name), changed);
  return join(folder, name);
}

describe('a machine that lacks something', () => {
  test('without a card is told so before anything is built, and no folder is left there', () => {
    const build = standIns('no-card', { list_devices: card(0, 'no NVIDIA driver is loaded') });
    rmSync(join(build, 'prebuilt.txt'));
    const { said, status } = call(build, ['build', 'device', 'step']);
    expect(said.split('\n')[0]).toBe('Nothing was checked: no card can be used: no NVIDIA driver is loaded.');
    expect(said).toContain('To build here for a machine with a card:  gpu_check.sh pack FILE.tar.gz\n');
    expect(said).toContain('gpu_check.sh --rehearse\n');
    expect(status).toBe(3);
    expect(existsSync(`${build}-out`)).toBe(false);
  });

  test('that has its card no more keeps the reports of earlier calls', () => {
    const gone = `if [ -e "$here/gone" ]; then ${card(0, 'the driver sees no NVIDIA card')}; else ${card(0)}; fi`;
    const build = standIns('gone-card', { list_devices: gone });
    const { report } = check(build, ['dump']);
    writeFileSync(join(build, 'gone'), '');
    expect(call(build, ['dump']).status).toBe(3);
    expect(unwrapped(readFileSync(`${build}-out/report.txt`, 'utf8'))).toBe(report);
  });

  test('without programs and a driver is told so, too', () => {
    const build = join(folder, 'bare');
    mkdirSync(build);
    const { said, status } = call(build, [], { GPU_CHECK_DRIVER_FILES: join(folder, 'absent') });
    expect(said).toMatch(/^Nothing was checked: no card can be used: no NVIDIA driver is loaded\.\n/);
    expect(status).toBe(3);
  });

  test('with a driver that is older than the build is told what to build with', () => {
    const problem = 'the driver is for CUDA 12.4, this build needs one for 13.0';
    const { said, status } = call(standIns('old-driver', { list_devices: card(0, problem) }), []);
    expect(said).toContain(`no card can be used: ${problem}.`);
    expect(said).toContain('Build with a CUDA toolkit that is not newer than the driver');
    expect(said).not.toContain('gpu_check.sh pack FILE'); // a pack is there already
    expect(status).toBe(3);
    const compiled = standIns('compiled', { list_devices: card(0, problem) });
    rmSync(join(compiled, 'prebuilt.txt'));
    expect(call(compiled, []).said).toContain('A folder of compiled files keeps its toolkit: name another folder by --build.');
  });

  test('where nothing can be built, the check names the pack, and runs no part', () => {
    const build = join(folder, 'empty');
    mkdirSync(build);
    const { said, status, parts } = check(build, ['build', 'device'], { PATH: onlyBasics(), GPU_CHECK_DRIVER_FILES: CHECK });
    expect(said).toMatch(/build +skipped .*\n +missing: (nvcc \(.*\), )?cmake, c\+\+, make or ninja\. Where/);
    expect(said).toMatch(/^Nothing was checked: missing: .*gpu_check\.sh pack\.$/m);
    expect(parts.map(({ part }) => part)).toEqual(['build']);
    expect(status).toBe(3);
  });

  test('with an nvcc of CUDA 11 is told that it is too old', () => {
    const build = join(folder, 'nvcc-11');
    mkdirSync(build);
    const { said, status } = check(build, ['build'], { CUDA_HOME: writeToolkit(join(folder, 'old-toolkit'), '11.5') });
    expect(said).toContain('is of CUDA 11, and 12.0 is the least');
    expect(status).toBe(3);
  });

  test('with one card skips what needs two', () => {
    const { said, status } = check(standIns('one-card', { list_devices: card(0) }), ['several-cards', 'several-cards-7b']);
    expect(said).toMatch(/^several-cards +skipped .* this machine has one card$/m);
    expect(said).toMatch(/^Nothing was checked: each part that was asked for was skipped\.$/m);
    expect(status).toBe(3);
  });

  test('with a card that has too little memory for a step skips the step', () => {
    const step = 'echo "step_bench: OUT_OF_MEMORY memory: shape 7b needs 9 bytes" >&2; exit 1';
    const { said, status } = check(standIns('small-card', { step_bench: step }), ['dump', 'bench-7b']);
    expect(said).toMatch(/^bench-7b +skipped +\d+ s\n +the step does not fit the memory: see the log$/m);
    expect(status).toBe(0);
  });
});

/** A folder for PATH with the programs of every Linux, but without a compiler. */
function onlyBasics(): string {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const tool of 'bash cat date dirname basename grep head mkdir paste rm sed tail tar tee gzip tr'.split(' '))
    execFileSync('ln', ['-s', execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(bin, tool)]);
  return bin;
}

describe('a call that is disturbed', () => {
  const WAITS = 'echo $$ > "$here/begun"; exec sleep 300';
  const fileComes = async (path: string) => {
    while (!existsSync(path) || readFileSync(path, 'utf8') === '') await delay(20);
  };

  test('by Ctrl-C ends its program, and reports what was run', async () => {
    const build = standIns('interrupted', { product_bench: WAITS });
    const calling = spawn('bash', [CHECK, '--build', build, '--out', `${build}-out`, 'step', 'products', 'dump'], {
      env: WITHOUT_OTHER_TOOLS,
    });
    let said = '';
    calling.stdout.on('data', (text: Buffer) => (said += text.toString()));
    const ended = once(calling, 'close');
    await fileComes(join(build, 'begun'));
    calling.kill('SIGINT');
    expect(await ended).toEqual([130, null]);
    expect(said).toMatch(/^products +cut .* interrupted$/m);
    expect(said).toContain('left for another call: products dump\n');
    expect(unwrapped(said)).toContain('The card may compute right: these were not run to their end:');
    expect(readFileSync(`${build}-out/report.txt`, 'utf8')).toMatch(/^step +passed/m);
    expect(() => process.kill(Number(readFileSync(join(build, 'begun'), 'utf8')), 0)).toThrow(expect.objectContaining({ code: 'ESRCH' }));
  });

  test('by another call with the same folder of reports leaves that folder to the first', async () => {
    const build = standIns('twice', { product_bench: WAITS });
    const first = spawn('bash', [CHECK, '--build', build, '--out', `${build}-out`, 'products'], { env: WITHOUT_OTHER_TOOLS });
    const ended = once(first, 'close');
    await fileComes(join(build, 'begun'));
    const again = [CHECK, '--build', build, '--out', `${build}-out`, 'step'];
    const second = spawnSync('bash', again, { encoding: 'utf8', env: WITHOUT_OTHER_TOOLS });
    expect(unwrapped(second.stderr)).toBe(`another call writes to ${build}-out: wait for its end, or name another folder by --out\n`);
    expect(second.status).toBe(2);
    first.kill('SIGTERM');
    expect(await ended).toEqual([143, null]);
    expect(check(build, ['step']).status).toBe(0);
  });

  test('by the loss of the card says so, and calls no result wrong', () => {
    const build = standIns('lost', {
      product_bench: 'touch "$here/lost"; exit 1',
      list_devices: `if [ -e "$here/lost" ]; then ${card(0, 'the driver sees no NVIDIA card')}; else ${card(0)}; fi`,
    });
    const { said, status, parts } = check(build, ['dump', 'products', 'step']);
    expect(said).toContain("The card was lost in the part products: the card can't be used any more: the driver sees no NVIDIA card.");
    expect(said).not.toContain('wrong');
    expect(parts.map(({ part, status: ended }) => `${part} ${ended}`)).toEqual(['products lost', 'dump passed']);
    expect(status).toBe(1);
  });

  test('by another program that fills the card calls no result wrong', () => {
    const full = 'echo "step_dump: OUT_OF_MEMORY memory: cannot reserve device memory: out of memory"; exit 1';
    const { said, status } = check(standIns('crowded', { step_dump: full }), ['dump', 'step']);
    expect(said).toMatch(/^dump +busy +\d+ s\n +another program may use the card \(nvidia-smi tells\): out of memory$/m);
    expect(said).toMatch(/^The card may compute right: .* dump /m);
    expect(status).toBe(1);
  });

  test('by a disk that is full from the beginning begins nothing', () => {
    const build = standIns('full');
    const full = `trap '' XFSZ; ulimit -f 100; exec bash "$0" "$@"`;
    const calling = ['-c', full, CHECK, '--build', build, '--out', `${build}-out`, 'step'];
    const ran = spawnSync('bash', calling, { encoding: 'utf8', env: WITHOUT_OTHER_TOOLS });
    expect(unwrapped(ran.stderr)).toBe(`${build}-out has no room for reports: name another folder by --out\n`);
    expect(ran.status).toBe(2);
    expect(existsSync(`${build}-out`)).toBe(false);
  });

  test('by a disk that fills up does not blame the card', () => {
    const build = standIns('filled', { product_bench: 'mkdir "$here-out/parts/.room"; exit 1' });
    const { said, status, parts } = check(build, ['dump', 'products', 'step']);
    expect(said).toContain(`${build}-out has no room for reports any more: make room, and call again`);
    expect(said).not.toContain('The card computes wrong');
    expect(parts.map(({ part }) => part)).toEqual(['dump']);
    expect(status).toBe(2);
  });

  test('by folders that can not be written names the option that helps', () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const run = (...args: string[]) => spawnSync('bash', [CHECK, ...args], { encoding: 'utf8', env: WITHOUT_OTHER_TOOLS });
    const out = run('--out', join(file, 'out'), 'build');
    expect(unwrapped(out.stderr)).toBe(`the reports can't be written to ${join(file, 'out')}: name another folder by --out\n`);
    expect(out.status).toBe(2);
    const build = run('--rehearse', '--out', join(folder, 'unbuilt'), '--build', join(file, 'build'));
    expect(unwrapped(build.stdout)).toContain(
      `the folder of compiled files can't be written, ${join(file, 'build')}: name another one by --build`,
    );
    expect(build.status).toBe(3);
  });
});

test.each([
  [['--minutes', '0'], '--minutes needs a number from 0.5 to 1440, such as 43 or 9.5'],
  [['--minutes', '0.4'], '--minutes needs a number from 0.5 to 1440'],
  [['--minutes', '1440.1'], '--minutes needs a number from 0.5 to 1440'],
  [['--minutes', '99999999999999999999'], '--minutes needs a number from 0.5 to 1440'],
  [['--minutes', '-3'], '--minutes needs a number from 0.5 to 1440'],
  [['--minutes', 'nine'], '--minutes needs a number from 0.5 to 1440'],
  [['--minutes', ''], '--minutes needs a number from 0.5 to 1440'],
  [['--minutes'], '--minutes needs a number from 0.5 to 1440'],
  [['--minutes', '9', '--minutes', '43'], '--minutes is given twice'],
  [['--out', ''], '--out needs a folder'],
  [['--out', '--rehearse'], '--out needs a folder'],
  [['--out'], '--out needs a folder'],
  [['--out', 'a', '--out', 'b'], '--out is given twice'],
  [['--build', ''], '--build needs a folder'],
  [['--build', '--rehearse'], '--build needs a folder'],
  [['--build', 'a', '--build', 'b'], '--build is given twice'],
  [['--quick'], 'unknown option --quick: gpu_check.sh --help tells all'],
  [['stop'], "no part 'stop': gpu_check.sh list names all"],
  [[''], "no part '': gpu_check.sh list names all"],
  [['build device'], "no part 'build device'"],
  [['step', 'dump', 'step'], 'step is given twice'],
  [['pack'], 'pack needs one name, that of the file to be written'],
  [['pack', ''], 'pack needs one name'],
  [['pack', '--rehearse'], 'pack needs one name'],
  [['step', 'pack', 'check.tar.gz'], 'pack takes no part'],
  [['--rehearse', 'pack', 'check.tar.gz'], 'a rehearsal is not packed'],
  [['pack', `${'long/'.repeat(30)}check.tar.gz`], "check.tar.gz can't be written"],
  [['--rehearse', '--out', `/proc/${'long/'.repeat(10)}out`, 'build'], 'name another folder by --out'],
])('the arguments %j are refused in lines that fit, and nothing is written', (args, words) => {
  const cwd = mkdtempSync(join(folder, 'called-'));
  const ran = spawnSync('bash', [CHECK, ...args], { cwd, encoding: 'utf8', env: WITHOUT_OTHER_TOOLS });
  expect(unwrapped(ran.stderr)).toContain(words);
  expect(ran.status).toBe(2);
  expect(ran.stdout).toBe('');
  const tooLong = ran.stderr.split('\n').filter((line) => line.length > 80 && line.trim().includes(' '));
  expect(tooLong).toEqual([]);
  expect(readdirSync(cwd)).toEqual([]);
});

test('a path with blanks is a path', () => {
  const { said, status } = check(standIns('with some blanks'), ['build', 'step', 'dump', 'bench-7b']);
  expect(said).toMatch(/^dump +passed/m);
  expect(status).toBe(0);
});

test('the list of devices tells what makes times doubtful', () => {
  const build = standIns('shared');
  const bin = join(folder, 'driver');
  mkdirSync(bin);
  const rows = "case $1 in --query-gpu=*) echo '0, 3, 0, Disabled'; echo '1, 41000, 97, Enabled' ;; esac";
  writeFileSync(join(bin, 'nvidia-smi'), `#!/bin/sh\n${rows}\n`, { mode: 0o755 });
  const { parts } = check(build, ['device'], { PATH: `${bin}:${process.env.PATH}` });
  expect(parts[0]!.why).toBe(
    'card 1 is cut into slices (MIG), and a slice is slower than a card, other programs hold 41000 MiB of card 1, ' +
      'other programs keep card 1 busy, so times say little',
  );
});
