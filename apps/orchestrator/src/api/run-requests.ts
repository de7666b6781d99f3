// Turns the public messages of RunService into commands, and reports mistakes in their form. Checks that hold for every request are in
// request-checks.ts of the protocol.
import { randomUUID } from 'node:crypto';
import { invalidField, invalidRequest, requestedValues, settingsTable, v1, type FieldViolation } from '#protocol';
import type { DataSource } from '../run-inputs/named-data.js';
import type { DescribeRun, ForkRun, LaunchRun } from '../run-commands/pruning-run.commands.js';
import type { RunSettings } from '../pruning-run/record/pruning-run.events.js';
import type { StartingPoint } from '../pruning-run/aggregate/starting-points.js';
import { sortedTags, tagViolations } from '../pruning-run/aggregate/describing.js';
import { requireDigestPrefix } from '../pruning-run/aggregate/short-digests.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { cardNamed, type NamedCard } from '../pruning-run/planning/cards.js';

export function launchRequest(request: v1.LaunchRunRequest): LaunchRun['request'] {
  return {
    requestId: request.requestId || randomUUID(),
    name: request.name,
    ...labels(request),
    modelPath: request.modelPath,
    data: dataSource(request.data!),
    settings: requestedValues(request.settings),
  };
}

/** The launch or the fork that a plan is for. A card is given if the plan is for a card that need not be here. */
export type PlanRequest = { card: NamedCard | null } & (
  | { launch: { modelPath: string; settings: RequestedSettings } }
  | { fork: ForkParts }
);

export function planRequest(request: v1.PlanRunRequest): PlanRequest {
  const { modelPath, settings, forDevice, parentRunId, from } = request;
  const card = forDevice === '' ? null : { name: forDevice, figures: cardNamed(forDevice) };
  if (parentRunId !== '') {
    if (modelPath !== '') throw invalidField('REQUEST_INVALID', 'model_path', 'must be empty with parent_run_id: a fork has its model');
    return { card, fork: forkParts(request) };
  }
  if (from !== undefined) throw invalidField('FIELD_REQUIRED', 'parent_run_id', 'is needed: the run that the fork starts from');
  if (modelPath === '') throw invalidField('FIELD_REQUIRED', 'model_path', 'is needed: the folder of a Hugging Face model');
  return { card, launch: { modelPath, settings: requestedValues(settings) } };
}

export function forkRequest(request: v1.ForkRunRequest): Omit<ForkRun['request'], 'parentRunId'> {
  const { from, overrides } = forkParts(request);
  return {
    requestId: request.requestId || randomUUID(),
    name: request.name,
    ...labels(request),
    from,
    overrides,
    data: request.data === undefined ? null : dataSource(request.data),
  };
}

/** The start of a fork and the settings that it changes. */
type ForkParts = Pick<ForkRun['request'], 'from' | 'overrides'>;

function forkParts({ from, settings }: Pick<v1.ForkRunRequest, 'from' | 'settings'>): ForkParts {
  const violations: FieldViolation[] = [];
  const start = collect(violations, () => startingPoint(from));
  const overrides = requestedValues(settings);
  for (const { field } of settingsTable().filter((one) => !one.forkMayChange && overrides[one.name] !== undefined)) {
    const description = `cannot be changed by a fork: it would give the state another meaning; launch a run instead`;
    violations.push({ field: `settings.${field}`, description, code: 'FORK_FIELD_FIXED' });
  }
  if (start === undefined || violations.length > 0) throw invalidRequest(violations);
  return { from: start, overrides: overrides as Partial<RunSettings> };
}

function labels({ tags, note }: Pick<v1.LaunchRunRequest, 'tags' | 'note'>): { tags?: string[]; note?: string } {
  const violations = tagViolations(tags, 'tags');
  if (violations.length > 0) throw invalidRequest(violations);
  return { ...(tags.length === 0 ? {} : { tags: sortedTags(tags) }), ...(note === '' ? {} : { note }) };
}

export function describeRequest({ name, addTags, removeTags, note }: v1.DescribeRunRequest): DescribeRun['description'] {
  const violations = [...tagViolations(addTags, 'add_tags'), ...tagViolations(removeTags, 'remove_tags')];
  const both = addTags.find((tag) => removeTags.includes(tag));
  if (both !== undefined)
    violations.push({ field: 'remove_tags', description: `"${both}" is both added and removed`, code: 'REQUEST_INVALID' });
  if (violations.length > 0) throw invalidRequest(violations);
  return { name, addTags, removeTags, note };
}

type From = v1.ResumeRunRequest['from'] | v1.ForkRunRequest['from'];

export function startingPoint(from: From): StartingPoint {
  switch (from?.$case) {
    case undefined:
    case 'lastState':
      return { kind: 'last' };
    case 'teacherMark':
      if (from.value === 0) throw invalidField('FIELD_OUT_OF_RANGE', 'teacher_mark', 'marks count from 1');
      return { kind: 'mark', mark: from.value };
    case 'stateDigest':
      return { kind: 'digest', stateDigest: requireDigestPrefix(from.value, 'state_digest') };
  }
}

export function dataSource(source: v1.DataSource): DataSource {
  const { trainPath, validationPath, moreTrainPaths, trainWeights, moreValidationPaths, textColumn, responseOnly } = source;
  const { maxTrainTokens, maxValidationTokens, validationTextColumn, withoutValidation } = source;
  return {
    trainPath,
    validationPath,
    ...(moreTrainPaths.length === 0 ? {} : { moreTrainPaths }),
    ...(trainWeights.length === 0 ? {} : { trainWeights }),
    ...(moreValidationPaths.length === 0 ? {} : { moreValidationPaths }),
    ...(textColumn === '' ? {} : { textColumn }),
    ...(validationTextColumn === undefined ? {} : { validationTextColumn }),
    ...(withoutValidation ? { withoutValidation } : {}),
    ...(responseOnly ? { responseOnly } : {}),
    ...(maxTrainTokens === 0n ? {} : { maxTrainTokens: Number(maxTrainTokens) }),
    ...(maxValidationTokens === 0n ? {} : { maxValidationTokens: Number(maxValidationTokens) }),
  };
}

/** Reads a part of a request. If the part is invalid, its violations are added to the others. */
function collect<T>(violations: FieldViolation[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const found = (error as { violations?: FieldViolation[] }).violations;
    if (found === undefined || found.length === 0) throw error;
    violations.push(...found);
    return undefined;
  }
}
