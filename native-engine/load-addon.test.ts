// An addon that was built from other sources than those that are here.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nativeAddon, nativeSources } from '#files';
import { interfaceOf } from './load-addon.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-outdated-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('it is refused before anything is asked of it, with the command that builds it', () => {
  const addon = readFileSync(nativeAddon());
  addon.write('0000', addon.indexOf(interfaceOf(nativeSources())!)); // the digest that is compiled in
  const outdated = join(folder, 'outdated.node');
  writeFileSync(outdated, addon);
  const engine = fileURLToPath(new URL('../apps/engine/src/main.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [engine, '--list-devices'], {
    env: { ...process.env, ESPALIER_NATIVE_ADDON: outdated },
    encoding: 'utf8',
  });
  expect(stderr).toBe(`the native engine does not fit its sources: ${outdated} was built from others; run "npm run build"\n`);
  expect(status).toBe(1);
});

test('a source that is changed, renamed, added or gone makes another interface', () => {
  const sources = join(folder, 'sources');
  const write = (file: string, text: string): void => writeFileSync(join(sources, file), text);
  expect(interfaceOf(sources)).toBeNull(); // an installation without sources has nothing to compare with
  for (const part of ['addon/javascript', 'core/include/espalier/training', 'core/session'])
    mkdirSync(join(sources, part), { recursive: true });
  const changes = [
    () => write('addon/javascript/to_js.cpp', 'loss'),
    () => write('addon/javascript/to_js.cpp', 'loss, kl'),
    () => write('core/include/espalier/training/step_report.h', ''),
    () => rmSync(join(sources, 'addon/javascript/to_js.cpp')),
  ];
  const digests = changes.map((change) => {
    change();
    return interfaceOf(sources);
  });
  expect(new Set(digests).size).toBe(changes.length);
  write('addon/CMakeLists.txt', ''); // it decides how the addon is built, not what it takes
  expect(interfaceOf(sources)).toBe(digests.at(-1));
});
