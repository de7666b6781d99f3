// Groups the runs of a study that differ by their seed only, with means and spreads. All functions are pure.
import { shareGone, targetWords } from '#comparison';
import { requestedValues, settingsMessageOfRun, settingsTable, v1, type SettingName } from '#protocol';
import { followsFromHiddenSize, resolveSettings } from '../pruning-run/method/run-settings.js';
import { figureOf } from '../views/mean-and-spread.js';
import { heatsOf, standingsOf } from './halving.js';
import type { PlannedRun } from './study.events.js';
import type { StudyRun, StudyState } from './study.js';

export interface RunInStudy {
  planned: StudyRun;
  run: v1.Run | null;
}

/**
 * The settings that differ between runs of one variant. Settings by which variants differ are left out, since their names tell them apart.
 */
function variedSettings(runs: readonly Pick<RunInStudy, 'planned'>[]): SettingName[] {
  const values = new Map<string, Set<string>>(); // the key is variant and setting
  for (const { planned } of runs) {
    for (const { name } of settingsTable()) {
      const key = `${planned.variant}\n${name}`;
      const seen = values.get(key) ?? new Set();
      values.set(key, seen.add(JSON.stringify(planned.settings[name] ?? null)));
    }
  }
  return settingsTable()
    .map(({ name }) => name)
    .filter((name) => name !== 'seed' && runs.some(({ planned }) => (values.get(`${planned.variant}\n${name}`)?.size ?? 0) > 1));
}

/** Stands for a rate of recovery that only the model tells. */
const RATE_BY_WIDTH = 'by hidden size';
const isRateByWidth = ({ settings }: Pick<PlannedRun, 'settings'>, name: SettingName): boolean =>
  name === 'recoverLearningRate' && settings.recoverLearningRate === undefined && followsFromHiddenSize(resolveSettings(settings));

/**
 * The settings, by field, that tell a run from others of its variant.
 * @param run as it is recorded, or null while it is not launched
 */
function ownSettings(
  planned: Pick<PlannedRun, 'settings'>,
  varied: readonly SettingName[],
  run: v1.Run | null = null,
): Record<string, string> {
  const recorded = run?.settings && requestedValues(run.settings);
  const complete = resolveSettings(planned.settings);
  const own = settingsTable().filter(({ name }) => varied.includes(name));
  const valueOf = (name: SettingName): unknown =>
    isRateByWidth(planned, name) ? (recorded?.recoverLearningRate ?? RATE_BY_WIDTH) : complete[name];
  return Object.fromEntries(own.map(({ name, field }) => [field, String(valueOf(name))]));
}

/** The decisions on rungs, with the standings of the contenders. */
export function rungTable({ halving, decisions, runs }: Pick<StudyState, 'halving' | 'decisions' | 'runs'>): v1.StudyRung[] {
  if (halving === null) return [];
  const varied = variedSettings(runs.map((planned) => ({ planned }))).filter((name) => name !== halving.setting);
  const heats = heatsOf(runs);
  return decisions.flatMap(({ race, rung, results, at }) => {
    const racing = heats.find((heat) => heat.race === race && heat.rung === rung)?.runs;
    if (racing === undefined) return [];
    const [{ modelPath, settings }] = racing;
    const resolved = resolveSettings(settings);
    return {
      rung,
      budget: halving.rungs[rung] ?? 0,
      modelPath,
      targetSparsity: resolved.targetSparsity,
      target: targetWords(resolved, 1),
      decidedAt: new Date(at),
      contenders: standingsOf(racing, results, halving).map(({ runs: own, perplexities, missedTarget, goesOn }) => ({
        variant: own[0].variant,
        settings: ownSettings(own[0], varied),
        runs: own.length,
        perplexity: figureOf(perplexities),
        missedTarget,
        goesOn,
      })),
    };
  });
}

export function studyTable(runs: readonly RunInStudy[]): { runs: v1.StudyRun[]; groups: v1.StudyGroup[] } {
  const varied = variedSettings(runs);
  const models = new Set(runs.map(({ planned }) => planned.modelPath));
  const data = new Set(runs.map(({ planned }) => JSON.stringify(planned.data)));
  const groups = new Map<string, { about: Pick<v1.StudyGroup, 'variant' | 'settings' | 'modelPath'>; members: RunInStudy[] }>();
  const messages: v1.StudyRun[] = [];
  for (const one of runs) {
    const { planned } = one;
    const complete = resolveSettings(planned.settings);
    const about = { variant: planned.variant, settings: ownSettings(planned, varied), modelPath: models.size > 1 ? planned.modelPath : '' };
    const key = JSON.stringify([about, data.size > 1 ? planned.data : null]);
    const group = groups.get(key) ?? { about, members: [] };
    groups.set(key, group);
    group.members.push(one);
    messages.push({
      variant: planned.variant,
      settings: one.run?.settings ?? settingsMessageOfRun(complete),
      run: one.run ?? undefined,
      refusal: planned.refusal ?? undefined,
      group: [...groups.keys()].indexOf(key),
      rung: planned.rung ?? 0,
    });
  }
  const groupMessages = [...groups.values()].map(({ about, members }) => {
    const { planned, run } = members.find((one) => one.run !== null) ?? members[0]!;
    return groupMessage({ ...about, settings: ownSettings(planned, varied, run) }, members);
  });
  return { runs: messages, groups: groupMessages };
}

function groupMessage(about: Pick<v1.StudyGroup, 'variant' | 'settings' | 'modelPath'>, members: readonly RunInStudy[]): v1.StudyGroup {
  const completed = members.flatMap(({ run }) => (run !== null && run.status === v1.RunStatus.RUN_STATUS_COMPLETED ? [run] : []));
  return {
    ...about,
    runs: members.length,
    runsCompleted: completed.length,
    sparsity: figureOf(completed.map(shareGone)),
    trainingSeconds: figureOf(completed.map(({ trainingSeconds }) => trainingSeconds)),
    measures: measuresOf(completed),
  };
}

/** The measures of last states and of models before pruning. Where a run has several values of a measure, the last counts. */
function measuresOf(runs: readonly v1.Run[]): v1.StudyMeasure[] {
  const measures = new Map<string, { about: Omit<v1.StudyMeasure, 'figure'>; values: number[]; headline: boolean }>();
  for (const { evaluations, stateDigest } of runs) {
    const own = evaluations.filter((one) => !one.abandoned && (one.stateDigest === '' || one.stateDigest === stateDigest));
    const last = new Map<string, v1.Evaluation>();
    for (const one of own) {
      const { subject, task, metric, convention, dataDigest, digests } = one;
      if (!subject.startsWith('export:')) last.set(JSON.stringify([subject, task, metric, convention, dataDigest, digests]), one);
    }
    for (const [key, { subject, task, metric, convention, dataDigest, value, headline }] of last) {
      const measure = measures.get(key) ?? { about: { subject, task, metric, convention, dataDigest }, values: [], headline };
      measures.set(key, measure);
      measure.values.push(value);
    }
  }
  return [...measures.values()]
    .sort((left, right) => Number(right.headline) - Number(left.headline))
    .map(({ about, values }) => ({ ...about, figure: figureOf(values) }));
}
