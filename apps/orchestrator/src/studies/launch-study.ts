// Launches a study as a request describes it. Every run is checked, by the checks of its own launch, before anything is recorded.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import { EspalierError, invalidField, invalidRequest, namesTableFile, toEspalierError, type FieldViolation } from '#protocol';
import { sessionKey, sessionOptions } from '../engines/wire/engine-requests.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import { budgetSettingOf, settingsOfBudget } from '../pruning-run/method/budget.js';
import { settingsViolations, resolveSettings } from '../pruning-run/method/run-settings.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import { requireMemory } from '../run-inputs/run-plan.js';
import { BUDGETS, budgetField, withBudget } from './halving.js';
import { planRun, studyIdOf, type RunOfStudy } from './study-plan.js';
import type { Halving } from './study.events.js';
import { StudyRepository } from './study-repository.js';
import type { StudyState } from './study.js';

const MOST_AT_ONCE = 64;
const MOST_RUNGS = 16;
const MOST_VIOLATIONS = 10;

export interface StudyRequest {
  name: string;
  note: string;
  atOnce: number;
  halving: RequestedHalving | undefined;
  runs: RunOfStudy[];
}
/** The request names the setting by its field. */
type RequestedHalving = Omit<Halving, 'setting'> & { setting: string };

export interface LaunchedStudy {
  study: StudyState;
  /** The number of runs that the study did not have. */
  added: number;
}

@Injectable()
export class LaunchStudy {
  constructor(
    @Inject(StudyRepository) private readonly studies: StudyRepository,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
  ) {}

  /** @throws EspalierError whose violations name the run, such as "runs[3].settings.total_steps" */
  async execute(request: StudyRequest, by: CallContext, signal: AbortSignal): Promise<LaunchedStudy> {
    const { name, note, atOnce } = request;
    if (name.trim() === '') throw invalidField('FIELD_REQUIRED', 'name', 'is needed: the study is known by it');
    if (atOnce > MOST_AT_ONCE) throw invalidField('FIELD_OUT_OF_RANGE', 'at_once', `must be from 0 to ${MOST_AT_ONCE}, is ${atOnce}`);
    if (request.runs.length === 0) throw invalidField('FIELD_REQUIRED', 'runs', 'is empty: a study has at least one run');
    const halving = request.halving === undefined ? undefined : checkedHalving(request.halving);
    const asked = request.runs.map(withWholePaths);
    if (halving !== undefined) refuseNoContenders(asked, halving);
    const ofRungs = halving?.rungs.map((budget) => asked.map((run) => withBudget(run, halving, budget))) ?? [];
    const [runs = asked, ...later] = ofRungs;
    for (const ofRung of later) refuseBadSettings(ofRung);
    const studyId = studyIdOf(name);
    const before = await this.studies.find(studyId);
    refuseBadSettings(runs);
    await this.checkSources(runs, signal);
    signal.throwIfAborted();
    const rungs = halving === undefined ? {} : { halving };
    const launch = { kind: 'launch', studyId, name, note, atOnce, ...rungs, runs: runs.map(planRun) } as const;
    const { study } = await this.studies.change(studyId, launch, { by });
    return { study, added: study.runs.length - (before?.runs.length ?? 0) };
  }

  /** Checks the model and the memory of runs. Runs that ask the same of an engine and of the model are checked once. */
  private async checkSources(runs: RunOfStudy[], signal: AbortSignal): Promise<void> {
    const seen = new Set<string>();
    const mistakes = new Mistakes();
    for (const [index, { modelPath, data, settings }] of runs.entries()) {
      const session = sessionOptions({ settings: resolveSettings(settings), model: { path: modelPath, weightsDigest: '' } }, 0);
      // A study may compare budgets, so a budget that the model can't keep is a mistake of its own run only.
      const { targetSparsity, recipe, preset } = settings;
      const budget = budgetSettingOf(settings) && { targetSparsity, recipe, preset, ...settingsOfBudget(settings) };
      const key = JSON.stringify([data, sessionKey(session), settings.evaluationWindow, budget]);
      if (seen.has(key)) continue;
      seen.add(key);
      await mistakes.keep(index, async () => {
        const plan = await this.sources.plan(modelPath, settings);
        requireMemory(plan);
        await this.sources.namedData(data, plan, signal);
      });
      signal.throwIfAborted();
    }
    mistakes.refuse();
  }
}

/** Makes paths absolute, because the driver that launches the runs may work in another folder. */
function withWholePaths(run: RunOfStudy): RunOfStudy {
  const { trainPath, validationPath, moreTrainPaths, moreValidationPaths } = run.data;
  const { speedTable } = run.settings;
  const whole = (path: string): string => resolve(path);
  return {
    ...run,
    modelPath: whole(run.modelPath),
    settings: speedTable !== undefined && namesTableFile(speedTable) ? { ...run.settings, speedTable: whole(speedTable) } : run.settings,
    data: {
      ...run.data,
      trainPath: whole(trainPath),
      validationPath: validationPath === '' ? '' : whole(validationPath),
      ...(moreTrainPaths === undefined ? {} : { moreTrainPaths: moreTrainPaths.map(whole) }),
      ...(moreValidationPaths === undefined ? {} : { moreValidationPaths: moreValidationPaths.map(whole) }),
    },
  };
}

function checkedHalving({ setting: field, rungs, keep }: RequestedHalving): Halving {
  const setting = Object.hasOwn(BUDGETS, field) ? BUDGETS[field as keyof typeof BUDGETS] : undefined;
  if (setting === undefined)
    throw invalidField('FIELD_UNKNOWN_VALUE', 'halving.setting', `must be ${Object.keys(BUDGETS).join(' or ')}, is "${field}"`);
  const ascends = rungs.every((budget, index) => budget > (rungs[index - 1] ?? 0));
  if (rungs.length < 2 || rungs.length > MOST_RUNGS || !ascends)
    throw invalidField('FIELD_OUT_OF_RANGE', 'halving.rungs', `must be 2 to ${MOST_RUNGS} numbers of steps in ascending order`);
  if (!(keep > 0 && keep < 1)) throw invalidField('FIELD_OUT_OF_RANGE', 'halving.keep', `must be above 0 and below 1, is ${keep}`);
  return { setting, rungs, keep };
}

/** Refuses runs without a perplexity, and runs that set the number of steps that the rungs decide. */
function refuseNoContenders(runs: RunOfStudy[], halving: Halving): void {
  const violations = runs.flatMap(({ data, settings }, index) => {
    const field = budgetField(halving);
    const unmeasured = {
      field: 'data.validation_path',
      code: 'FIELD_REQUIRED',
      description: 'is needed: its perplexity decides who goes on',
    };
    const fixed = { field: `settings.${field}`, code: 'REQUEST_INVALID', description: 'is set by the rungs: leave it out' };
    return [...(data.validationPath === '' ? [unmeasured] : []), ...(settings[halving.setting] === undefined ? [] : [fixed])].map((one) =>
      inRun(index, one),
    );
  });
  if (violations.length > 0) throw invalidRequest(violations.slice(0, MOST_VIOLATIONS));
}

function refuseBadSettings(runs: RunOfStudy[]): void {
  const mistakes = new Mistakes();
  for (const [index, { settings }] of runs.entries())
    for (const one of settingsViolations(resolveSettings(settings))) mistakes.add(index, one);
  mistakes.refuse();
}

const inRun = (index: number, { field, ...rest }: FieldViolation): FieldViolation => ({
  ...rest,
  field: field === '' ? `runs[${index}]` : `runs[${index}].${field}`,
});

/** The codes of errors that no run of the request caused. */
const SERVER_FAULTS = ['INTERNAL', 'ENGINE_UNAVAILABLE'];

/** The mistakes of all runs. A mistake that many runs share is reported once. */
class Mistakes {
  private readonly found = new Map<string, { first: FieldViolation; runs: number }>();
  private only: EspalierError | null = null;

  add(index: number, one: FieldViolation): void {
    const key = JSON.stringify(one);
    const known = this.found.get(key);
    this.found.set(key, { first: known?.first ?? inRun(index, one), runs: (known?.runs ?? 0) + 1 });
  }

  /** Keeps the mistake by which the check refuses a run. @throws an error that no run caused */
  async keep(index: number, check: () => Promise<void>): Promise<void> {
    try {
      await check();
    } catch (error) {
      // A text is refused by an error of the library that reads it.
      const { code, field, message, violations, metadata } = toEspalierError(error);
      if (SERVER_FAULTS.includes(code)) throw error;
      const all = violations.length > 0 ? violations : [{ field, description: message, code }];
      this.only ??= new EspalierError(code, `runs[${index}]: ${message}`, { violations: all.map((one) => inRun(index, one)), metadata });
      for (const one of all) this.add(index, one);
    }
  }

  /** @throws EspalierError with all mistakes that were kept */
  refuse(): void {
    const all = [...this.found.values()].map(({ first, runs }) =>
      runs === 1 ? first : { ...first, description: `${first.description} (so in ${runs} runs)` },
    );
    if (all.length === 1 && this.only !== null) throw this.only;
    if (all.length > 0) throw invalidRequest(all.slice(0, MOST_VIOLATIONS));
  }
}
