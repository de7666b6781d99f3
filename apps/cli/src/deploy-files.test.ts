// The files of deploy/ start Espalier with options that are there.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { buildProgram } from './program.js';

const DEPLOY = fileURLToPath(new URL('../../../../deploy/', import.meta.url));
const text = (file: string): string => readFileSync(DEPLOY + file, 'utf8');

/** The words of each start of the command line in a file. */
function starts(file: string): string[][] {
  if (file.endsWith('.service')) return [...text(file).matchAll(/^ExecStart=\S*\/espalier (.*)$/gm)].map(([, words]) => words!.split(' '));
  const { services } = parse(text(file)) as { services: Record<string, { command?: string[] }> };
  return Object.values(services).flatMap(({ command = [] }) => (command[0] === 'espalier' ? [command.slice(1)] : []));
}

const files = { 'compose.yaml': ['up', 'engine'], 'systemd/espalier.service': ['up'], 'systemd/espalier-engine@.service': ['engine'] };
it.each(Object.entries(files))('%s', (file, commands) => {
  const found = starts(file);
  expect(found.map(([command]) => command)).toEqual(commands);
  for (const [name, ...words] of found) {
    const command = buildProgram().commands.find((one) => one.name() === name)!;
    const known = [...command.options, ...buildProgram().options].map(({ long }) => long);
    for (const word of words.filter((one) => one.startsWith('--'))) expect(known).toContain(word.split('=')[0]);
  }
});

it('the chart of helm starts the server with options that are there', () => {
  const up = buildProgram().commands.find((one) => one.name() === 'up')!;
  const known = [...up.options, ...buildProgram().options].map(({ long }) => long);
  const given = [...text('helm/espalier/templates/servers.yaml').matchAll(/^ *- .*?(--[a-z0-9-]+)=/gm)].map(([, option]) => option);
  expect(given.length).toBeGreaterThan(10);
  for (const option of given) expect(known).toContain(option);
});

it('the images, the manifest of Kubernetes and the chart run as the same user', () => {
  const [, user] = /^USER (\d+):\d+$/m.exec(text('images/Containerfile'))!;
  expect(text('kubernetes/server.yaml')).toContain(`runAsUser: ${user}`);
  expect(text('helm/espalier/templates/servers.yaml')).toContain(`runAsUser: ${user}`);
  expect(text('compose.yaml')).toContain(`user: '${user}:${user}'`);
});
