// Answers StudyService by the studies. It contains no rules.
import { isAbsolute, join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { invalidField, requestedValues, requireForm, unary, v1, type CallInfo } from '#protocol';
import { readStudy } from '#run-files';
import type { CallContext } from '../event-sourcing/call-context.js';
import { DriverLease } from '../storage/driver-lease.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { LaunchStudy } from '../studies/launch-study.js';
import { StudyDriver } from '../studies/study-driver.js';
import { studyDetail, studyMessage } from '../studies/study-message.js';
import { StudyRepository } from '../studies/study-repository.js';
import type { StudyState } from '../studies/study.js';
import { RunViews } from '../views/run-views.js';
import { Callers } from './admission/callers.js';
import { Guard } from './admission/call-guard.js';
import { dataSource } from './run-requests.js';

const LAUNCH = v1.StudyServiceService.launchStudy.path;

@Injectable()
export class StudyGrpc {
  constructor(
    @Inject(StudyRepository) private readonly studies: StudyRepository,
    @Inject(LaunchStudy) private readonly launching: LaunchStudy,
    @Inject(StudyDriver) private readonly driver: StudyDriver,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(Guard) private readonly guard: Guard,
  ) {}

  handlers(): v1.StudyServiceServer {
    return {
      launchStudy: unary(async (request: v1.LaunchStudyRequest, signal, call) => this.launch(request, await this.accepted(call), signal)),
      launchStudyFile: unary(async ({ yaml, folder }: v1.LaunchStudyFileRequest, signal, call): Promise<v1.LaunchStudyFileResponse> => {
        const by = await this.accepted(call);
        if (folder !== '' && !isAbsolute(folder))
          throw invalidField('FIELD_OUT_OF_RANGE', 'folder', `is ${folder}: it must be an absolute path`);
        const file = readStudy(join(folder || process.cwd(), 'study.yaml'), yaml, 'yaml');
        try {
          requireForm(LAUNCH, file.request);
          await this.guard.require(LAUNCH, file.request, call);
          return await this.launch(file.request, by, signal);
        } catch (error) {
          throw file.withPlace(error);
        }
      }),
      listStudies: unary(async (): Promise<v1.ListStudiesResponse> => {
        await this.studies.start();
        return { studies: this.studies.all().map((study) => this.message(study)) };
      }),
      getStudy: unary(async ({ studyId }: v1.GetStudyRequest): Promise<v1.GetStudyResponse> => {
        await this.studies.start();
        const study = this.studies.named(studyId);
        return studyDetail(study, this.views, this.driver.waitOf(study.studyId));
      }),
      cancelStudy: unary(async ({ studyId, reason }: v1.CancelStudyRequest, _, call): Promise<v1.CancelStudyResponse> => {
        const by = await this.accepted(call);
        await this.studies.start();
        const { study } = await this.studies.change(this.studies.named(studyId).studyId, { kind: 'cancel', reason }, { by });
        return { study: this.message(study) };
      }),
    };
  }

  private async launch(request: v1.LaunchStudyRequest, by: CallContext, signal: AbortSignal): Promise<v1.LaunchStudyResponse> {
    const { name, note, atOnce, halving } = request;
    const runs = request.runs.map(({ variant, modelPath, data, settings }) => ({
      variant,
      modelPath,
      data: dataSource(data!),
      settings: requestedValues(settings),
    }));
    const { study, ...rest } = await this.launching.execute({ name, note, atOnce, halving, runs }, by, signal);
    return { study: this.message(study), ...rest };
  }

  private message(study: StudyState): v1.Study {
    return studyMessage(study, this.views, this.driver.waitOf(study.studyId));
  }

  /** Checks that changes are possible, and returns the caller of the change. */
  private async accepted(call: CallInfo): Promise<CallContext> {
    await this.storage.requireRoom();
    this.lease.requireHeld();
    return this.callers.contextOf(call);
  }
}
