// The phases of a run, one after the other, as its settings have them; pure. Steps count through all of them.
import type { PhaseKind, RunSettings } from '../record/pruning-run.events.js';

/** Baselines: they prune in one step, and train nothing while they do. */
export type OneShotRecipe = 'magnitude' | 'wanda' | 'taylor';
export const prunesAtOnce = (recipe: RunSettings['recipe']): recipe is OneShotRecipe =>
  recipe === 'magnitude' || recipe === 'wanda' || recipe === 'taylor';

export interface Phase {
  kind: PhaseKind;
  /** Number of its first step. */
  firstStep: number;
  /** Number of the first step after it. */
  endStep: number;
}

type PhaseSettings = Pick<RunSettings, 'totalSteps' | 'recoverSteps'>;

/** Pruning; then, where it is asked for, recovery: the masks are frozen and LoRA is trained on. */
export function phasesOf({ totalSteps, recoverSteps }: PhaseSettings): [Phase, ...Phase[]] {
  const prune: Phase = { kind: 'prune', firstStep: 0, endStep: totalSteps };
  if (recoverSteps === 0) return [prune];
  return [prune, { kind: 'recover', firstStep: totalSteps, endStep: totalSteps + recoverSteps }];
}

/** Steps in all. */
export const endStepOf = (settings: PhaseSettings): number => phasesOf(settings).at(-1)!.endStep;

/** The phase of the step that follows `step` done steps; at the end the last one. */
export function phaseAt(settings: PhaseSettings, step: number): Phase {
  const phases = phasesOf(settings);
  return phases.find(({ endStep }) => step < endStep) ?? phases.at(-1)!;
}

/** The phase of the last done step; `step` is the number of done steps. */
export const phaseOfDone = (settings: PhaseSettings, step: number): Phase => phaseAt(settings, Math.max(0, step - 1));

export interface LossWeights {
  layerWeight: number;
  klWeight: number;
  lmWeight: number;
  temperature: number;
}

type LossSettings = PhaseSettings &
  Pick<
    RunSettings,
    'recipe' | 'layerLossWeight' | 'klLossWeight' | 'temperature' | 'recoverLmLossWeight' | 'recoverLayerLossWeight' | 'recoverKlLossWeight'
  >;

/** The losses of the step that follows `step` done steps. */
export function lossesAt(settings: LossSettings, step: number): LossWeights {
  const { temperature } = settings;
  if (phaseAt(settings, step).kind === 'recover') {
    const { recoverLayerLossWeight, recoverKlLossWeight, recoverLmLossWeight } = settings;
    return { layerWeight: recoverLayerLossWeight, klWeight: recoverKlLossWeight, lmWeight: recoverLmLossWeight, temperature };
  }
  return settings.recipe === 'lm' || prunesAtOnce(settings.recipe)
    ? { layerWeight: 0, klWeight: 0, lmWeight: 1, temperature }
    : { layerWeight: settings.layerLossWeight, klWeight: settings.klLossWeight, lmWeight: 0, temperature };
}

/** Whether any step learns by cross-entropy: only this loss treats responses apart from prompts. */
export const learnsFromText = (settings: LossSettings): boolean =>
  phasesOf(settings).some(
    ({ kind, firstStep }) => lossesAt(settings, firstStep).lmWeight > 0 && !(kind === 'prune' && prunesAtOnce(settings.recipe)),
  );

/** Whether these losses need a teacher. */
export const needsTeacher = ({ layerWeight, klWeight }: Pick<LossWeights, 'layerWeight' | 'klWeight'>): boolean =>
  layerWeight !== 0 || klWeight !== 0;
