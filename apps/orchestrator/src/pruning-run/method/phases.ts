// The phases of a run follow from its settings, one after the other. Steps count through all phases. All functions are pure.
import { engineV1, enumWords, type EnumWord } from '#protocol';
import type { PhaseKind, RunSettings } from '../record/pruning-run.events.js';

/** The baselines: recipes that prune in one step and train nothing while they prune. */
export type OneShotRecipe = RunSettings['recipe'] & EnumWord<typeof engineV1.Importance, 'IMPORTANCE_'>;
const ONE_SHOT: readonly string[] = enumWords(engineV1.Importance, 'IMPORTANCE_');
export const prunesAtOnce = (recipe: RunSettings['recipe']): recipe is OneShotRecipe => ONE_SHOT.includes(recipe);

/** A scan trains nothing either: it has a step for each layer, and closes no part. */
export const prunesUntrained = (recipe: RunSettings['recipe']): boolean => recipe === 'scan' || prunesAtOnce(recipe);

export interface Phase {
  kind: PhaseKind;
  /** The number of the phase's first step. */
  firstStep: number;
  /** The number of the first step after the phase. */
  endStep: number;
}

type PhaseSettings = Pick<RunSettings, 'totalSteps' | 'recoverSteps'>;

/** Pruning, then recovery where the settings ask for it. In recovery the masks are frozen and training goes on without changing them. */
export function phasesOf({ totalSteps, recoverSteps }: PhaseSettings): [Phase, ...Phase[]] {
  const prune: Phase = { kind: 'prune', firstStep: 0, endStep: totalSteps };
  if (recoverSteps === 0) return [prune];
  return [prune, { kind: 'recover', firstStep: totalSteps, endStep: totalSteps + recoverSteps }];
}

function lastPhase(settings: PhaseSettings): Phase {
  const [prune, recover = prune] = phasesOf(settings);
  return recover;
}

export const endStepOf = (settings: PhaseSettings): number => lastPhase(settings).endStep;

/** The phase of the step that follows `step` done steps, or the last phase where no step follows. */
export function phaseAt(settings: PhaseSettings, step: number): Phase {
  return phasesOf(settings).find(({ endStep }) => step < endStep) ?? lastPhase(settings);
}

/** The phase of the last done step, where `step` is the number of done steps. */
export const phaseOfDone = (settings: PhaseSettings, step: number): Phase => phaseAt(settings, Math.max(0, step - 1));

export type LossWeights = engineV1.Losses;

type LossSettings = PhaseSettings &
  Pick<
    RunSettings,
    'recipe' | 'layerLossWeight' | 'klLossWeight' | 'temperature' | 'recoverLmLossWeight' | 'recoverLayerLossWeight' | 'recoverKlLossWeight'
  >;

/** The weights of the losses in the step that follows `step` done steps. */
export function lossesAt(settings: LossSettings, step: number): LossWeights {
  const { temperature } = settings;
  if (phaseAt(settings, step).kind === 'recover') {
    const { recoverLayerLossWeight, recoverKlLossWeight, recoverLmLossWeight } = settings;
    return { layerWeight: recoverLayerLossWeight, klWeight: recoverKlLossWeight, lmWeight: recoverLmLossWeight, temperature };
  }
  return settings.recipe === 'lm' || prunesUntrained(settings.recipe)
    ? { layerWeight: 0, klWeight: 0, lmWeight: 1, temperature }
    : { layerWeight: settings.layerLossWeight, klWeight: settings.klLossWeight, lmWeight: 0, temperature };
}

/** Tells whether any step learns by cross-entropy. Only this loss treats responses differently from prompts. */
export const learnsFromText = (settings: LossSettings): boolean =>
  phasesOf(settings).some(
    ({ kind, firstStep }) => lossesAt(settings, firstStep).lmWeight > 0 && !(kind === 'prune' && prunesUntrained(settings.recipe)),
  );

export const needsTeacher = ({ layerWeight, klWeight }: Pick<LossWeights, 'layerWeight' | 'klWeight'>): boolean =>
  layerWeight !== 0 || klWeight !== 0;
