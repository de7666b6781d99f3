// How long the parts of a run take, as measured (docs/design/time.md).
import type { SettingValues } from '#protocol';

/** Seconds as an engine measured them for a run. Rates of what the run does not have are 0. */
export interface StepRates {
  stepOpen: number; // a step of pruning with all gates open
  stepAtTarget: number; // a step of pruning with the target's share of gates closed
  closing: number; // the step of a recipe that prunes at once, with its calibration
  recoveryStart: number; // what recovery begins with: the change to own weights, a refit
  recoveryStep: number; // a step of recovery at the target's size
  segmentEnd: number; // what the end of a segment takes beside its steps
  evaluationStart: number; // what the two perplexities begin with
  evaluatedToken: number; // a token of the intact model's perplexity
  evaluatedTokenAtTarget: number; // and of the pruned model's
}

/** The steps of a run with a time, chosen once by the rates of the engine that begins it. They hold for all that follows. */
export type StepsChosen = {
  attempt: number;
  settings: Partial<SettingValues>; // those that the choice changes
  rates: StepRates;
  spentSeconds: number; // what the run had taken so far: preparation, start of the engine and measuring
  expectedSeconds: number; // of the whole run
};
