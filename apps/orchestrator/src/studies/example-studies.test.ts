// The studies that a user copies can be launched: none of them has two variants that ask for one run.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { requestedValues } from '#protocol';
import { readStudy } from '#run-files';
import { dataSource } from '../api/run-requests.js';
import { planRun } from './study-plan.js';
import { decide } from './study.js';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const textOf = (file: string): string => readFileSync(`${ROOT}${file}`, 'utf8');
/** The block of a page or of a program that begins with these characters. */
const blockOf = (file: string, before: string, end: string): string => textOf(file).split(before)[1]!.split(end)[0]!;

test.each<[string, string]>([
  ...readdirSync(`${ROOT}examples/studies`)
    .filter((name) => name.endsWith('.yaml'))
    .map((name): [string, string] => [name, textOf(`examples/studies/${name}`)]),
  ['the example of docs/studies.md', `name: ${blockOf('docs/studies.md', '```yaml\nname: ', '```')}`],
  ["the dashboard's example", blockOf('apps/dashboard/src/studies/study-file.ts', 'EXAMPLE = `', '`;')],
])('%s launches every run that it asks for', (_, text) => {
  const { request } = readStudy(`${ROOT}examples/studies/study.yaml`, text, 'file');
  const runs = request.runs.map(({ variant, modelPath, data, settings }) =>
    planRun({ variant, modelPath, data: dataSource(data!), settings: requestedValues(settings) }),
  );
  const change = { kind: 'launch', studyId: 's', name: request.name, note: '', atOnce: 1, runs } as const;
  const [launched] = decide(null, change, '2026-01-01T00:00:00.000Z');
  expect(launched).toMatchObject({ type: 'StudyLaunched', data: { runs } });
});
