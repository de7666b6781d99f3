// Holds the files of deploy/ to what can be known without starting them.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const text = (path: string): string => readFileSync(join(process.cwd(), 'deploy', path), 'utf8');
const UNITS = ['systemd/espalier.service', 'systemd/espalier-engine@.service'];

it.each(UNITS)('%s lets its engines see the cards', (unit) => {
  expect(text(unit)).not.toMatch(/^PrivateDevices=(?!no$)/m);
  expect(text(unit).match(/^Device\w+=.*$/gm)).toEqual([
    'DevicePolicy=closed',
    'DeviceAllow=char-nvidia-frontend rw',
    'DeviceAllow=char-nvidia rw',
    'DeviceAllow=char-nvidia-uvm rw',
  ]);
});

it.each(['compose.yaml', 'compose.kurrentdb.yaml'])('%s names each image by a version', (file) => {
  const images = [...text(file).matchAll(/^\s*image: (\S+)$/gm)].map(([, image]) => image!);
  expect(images.length).toBeGreaterThan(0);
  expect(images.filter((image) => !/:(?!latest$)[\w.-]*\d[\w.-]*$/.test(image))).toEqual([]);
});

it('what its commands write beside it does not get into a commit', () => {
  const written = ['deploy/.env', 'deploy/models/llama/config.json', 'deploy/authority.pem', 'deploy/images/espalier-0.1.0.tgz'];
  expect(
    execFileSync('git', ['check-ignore', ...written], { encoding: 'utf8' })
      .trim()
      .split('\n'),
  ).toEqual(written);
});
