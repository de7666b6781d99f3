// Turns the public messages of RunService into commands, and reports mistakes in their form. Checks that hold for every request are in
// request-checks.ts of the protocol.
import { randomUUID } from 'node:crypto';
import { invalidField, invalidRequest, requestedValues, settingsTable, v1, type FieldViolation } from '#protocol';
import type { DataSource } from '../run-inputs/named-data.js';
import type { DescribeRun, ForkRun, LaunchRun } from '../run-commands/pruning-run.commands.js';
import type { RunSettings } from '../pruning-run/record/pruning-run.events.js';
import type { StartingPoint } from '../pruning-run/aggregate/run-change.js';
import { sortedTags, tagViolations } from '../pruning-run/aggregate/describing.js';
import { requireDigestPrefix } from '../pruning-run/aggregate/short-digests.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { cardNamed, type Card } from '../pruning-run/planning/cards.js';

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

export function planRequest({ modelPath, settings: message, forDevice }: v1.PlanRunRequest): {
  modelPath: string;
  settings: RequestedSettings;
  card: { name: string; figures: Card } | null;
} {
  const card = forDevice === '' ? null : { name: forDevice, figures: cardNamed(forDevice) };
  return { modelPath, settings: requestedValues(message), card };
}

export function forkRequest(request: v1.ForkRunRequest): Omit<ForkRun['request'], 'parentRunId'> {
  const violations: FieldViolation[] = [];
  const from = collect(violations, () => startingPoint(request.from));
  const { data, ...earlier } = request.overrides ?? v1.ForkOverrides.fromPartial({});
  const changed = requestedValues(request.settings);
  for (const { field } of settingsTable().filter((one) => !one.forkMayChange && changed[one.name] !== undefined)) {
    const description = `cannot be changed by a fork: it would give the state another meaning; launch a run instead`;
    violations.push({ field: `settings.${field}`, description, code: 'FORK_FIELD_FIXED' });
  }
  if (violations.length > 0) throw invalidRequest(violations);
  return {
    requestId: request.requestId || randomUUID(),
    name: request.name,
    ...labels(request),
    from: from!,
    overrides: { ...requestedValues(earlier), ...changed } as Partial<RunSettings>,
    data: data === undefined ? null : dataSource(data),
  };
}

/** Fields that are left out are not part of the command. So a request of a release before tags is still the same request. */
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

/** Fields that are left out are not part of the command. So a request of a release before these fields is still the same request. */
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
