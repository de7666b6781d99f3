// Tests requests of studies that are refused, and small ones. Studies that are killed on their way are in studies.long.test.ts.
import { writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { v1 } from '#protocol';
import { codeOf, CORPUS, TestServer, TINY_MODEL } from './harness/server.js';
import { StudyCalls, studyRun } from './harness/studies.js';

const { STUDY_STATUS_COMPLETED } = v1.StudyStatus;

describe('a study', () => {
  const server = TestServer.inNewFolder();
  const { launch, get, until } = new StudyCalls(server);

  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  it('whose text is too short says so once, by one run that failed', async () => {
    const trainPath = join(server.dataFolder, 'short.jsonl');
    writeFileSync(trainPath, '{"text":"Too few words."}\n');
    const short = (seed: bigint): v1.StudyRunRequest => ({
      ...studyRun('short', { seed }),
      data: v1.DataSource.fromPartial({ trainPath }),
    });
    await launch('short', [short(1n), short(2n), short(3n)], 1);
    const { runs } = await until('short', ({ study }) => study!.status === STUDY_STATUS_COMPLETED);
    const failed = runs[0]!.run!;
    expect(failed).toMatchObject({ status: v1.RunStatus.RUN_STATUS_FAILED, failure: { code: 'DATA_TOO_SHORT', field: 'data.train_path' } });
    for (const { run: launched, refusal } of runs.slice(1)) {
      expect(launched).toBeUndefined();
      expect(refusal).toMatchObject({ code: 'DATA_TOO_SHORT', field: 'data.train_path' });
      expect(refusal!.message).toMatch(new RegExp(`^run ${failed.runId} failed of the same text: `));
    }
  });

  it('is launched from the text of its file, whose lines a refusal names', async () => {
    const file = (yaml: string, folder = ''): Promise<v1.LaunchStudyFileResponse> =>
      server.study((client, done) => client.launchStudyFile({ yaml, folder }, done));
    const text = [
      'name: from a file',
      `model: ${basename(TINY_MODEL)}`,
      `data: ${CORPUS}`,
      `validation: ${CORPUS}`,
      'settings: {total_steps: 1, batch_size: 2, sequence_length: 32, evaluation_window: 64}',
      'runs:',
      '  - name: smallest',
      '    settings: {recipe: magnitude, target_sparsity: 0.2}',
    ].join('\n');
    const folder = dirname(TINY_MODEL);
    await expect(file(text.replace('magnitude', 'magic'), folder)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      violations: [expect.objectContaining({ field: 'yaml', description: expect.stringMatching(/^study\.yaml:8: recipe: /) as string })],
    });
    await expect(file(text.replace('smallest', 'a\u0007b'), folder)).rejects.toMatchObject({ violations: [{ field: 'yaml' }] });
    await expect(file(text, '/nowhere')).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: expect.stringMatching(/^study\.yaml:2: run smallest: model: /),
    });
    await expect(file(text, 'here')).rejects.toMatchObject({ code: 'FIELD_OUT_OF_RANGE', field: 'folder' });
    await expect(file('')).rejects.toMatchObject({ code: 'FIELD_REQUIRED', field: 'yaml' });
    expect(await file(text, folder)).toMatchObject({ added: 1, study: { name: 'from a file' } });
    expect(await file(text, folder)).toMatchObject({ added: 0 });
    expect((await get('from a file')).runs).toMatchObject([{ variant: 'smallest', settings: { targetSparsity: 0.2 } }]);
  });

  it('is refused as a whole where one of its runs is wrong, and says which', async () => {
    const wrong = (runs: v1.StudyRunRequest[], name = 'wrong'): Promise<unknown> => launch(name, runs).catch((error: unknown) => error);
    expect(await wrong([studyRun('a', {}), studyRun('b', { targetSparsity: 0.99 })])).toMatchObject({
      code: 'FIELD_OUT_OF_RANGE',
      violations: [expect.objectContaining({ field: 'runs[1].settings.target_sparsity' })],
    });
    expect(await wrong([studyRun('a', {}), { ...studyRun('b', {}), modelPath: '/nowhere' }])).toMatchObject({
      code: 'MODEL_NOT_FOUND',
      violations: [expect.objectContaining({ field: expect.stringMatching(/^runs\[1\]/) as string })],
    });
    expect(await wrong([studyRun('a', {}), studyRun('b', {})])).toMatchObject({ code: 'REQUEST_INVALID', field: 'runs[1]' });
    expect(codeOf(await wrong([]))).toBe('FIELD_REQUIRED');
    expect(codeOf(await wrong([studyRun('a', {})], ''))).toBe('FIELD_REQUIRED');
    expect(codeOf(await get('wrong').catch((error: unknown) => error))).toBe('STUDY_NOT_FOUND');
    const { studies } = await server.study<v1.ListStudiesResponse>((client, done) => client.listStudies({}, done));
    expect(studies.map(({ name }) => name)).toEqual(['from a file', 'short']);
  });
});
