// The parts that tests of studies share.
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { CORPUS, HANGS_AFTER_MS, type TestServer, TINY_MODEL, TINY_RUN } from './server.js';

/** A run of a study: the small run, with 60 steps and with these settings. */
export const studyRun = (variant: string, settings: Partial<v1.RunSettings>): v1.StudyRunRequest =>
  v1.StudyRunRequest.fromPartial({
    variant,
    modelPath: TINY_MODEL,
    data: { trainPath: CORPUS, validationPath: CORPUS },
    settings: { ...TINY_RUN, totalSteps: 60, ...settings },
  });

export class StudyCalls {
  constructor(private readonly server: TestServer) {}

  readonly launch = (name: string, runs: v1.StudyRunRequest[], atOnce = 2, halving?: v1.StudyHalving): Promise<v1.LaunchStudyResponse> =>
    this.server.study((client, done) => client.launchStudy({ name, note: '', atOnce, runs, halving }, done));

  readonly get = (studyId: string): Promise<v1.GetStudyResponse> => this.server.study((client, done) => client.getStudy({ studyId }, done));

  readonly until = async (
    name: string,
    wanted: (study: v1.GetStudyResponse) => boolean,
    withinMs = HANGS_AFTER_MS,
  ): Promise<v1.GetStudyResponse> => {
    for (const end = Date.now() + withinMs; ;) {
      const detail = await this.get(name);
      if (wanted(detail)) return detail;
      if (Date.now() > end)
        throw new Error(`study ${name} did not get there: ${JSON.stringify(detail.study, (_, value: unknown) => String(value))}`);
      await sleep(50);
    }
  };
}
