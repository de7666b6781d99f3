// Rules that the command line, the server and the dashboard share: how answers of the public API are compared, and what a typed text means.
// These files know messages only by their shape and import nothing, so that they run in a browser too.
export {
  amountAsTyped,
  budgetPlanWords,
  budgetWords,
  limitsAsTyped,
  targetWithBudget,
  targetWords,
  type BudgetFigures,
} from './budget-words.js';
export { architectureFacts, architecturesWith } from './architectures.js';
export { byteWords } from './byte-words.js';
export { choicesOfNumerics, chosenNumerics, numericsDifference, numericsWords } from './numerics-words.js';
export { LOSS_NAMES, LOSSES, ofEachLoss, type LossName } from './losses.js';
export { perplexityOf } from './perplexity.js';
export { onFront, type SizeAndQuality } from './pareto-front.js';
export { gainWords, speedWords, spreadWords, type SpeedUp } from './speed-words.js';
export { groupName, intactValue, linesOf, measureName, measureNames, measureOf, type StudyLine } from './study-lines.js';
export { csvCell } from './csv.js';
export { usageCsv, type UsageFigures } from './usage-csv.js';
export { viewOfOne } from './dashboard-views.js';
export { EXPORT_FORMAT_NAMES, EXPORT_FORMATS, type ExportFormat } from './export-formats.js';
export { hasMissedTarget, isOffTarget, missAdvice, TARGET_TOLERANCE } from './target-check.js';
export { replayEngineWords, replayWords, type Replays } from './replay-words.js';
export { reachedWords, shareGone } from './share-gone.js';
export { axis, LEAST_SPARSITY_POINTS, linearTicks, logTicks, spansMuch, type Axis } from './axis.js';
export { presetDefault, type PresetDefaults } from './presets.js';
export {
  amountOfBudget,
  BUDGET_FIELDS,
  BUDGET_NAMES,
  BUDGETS,
  givenForBudget,
  leastAsked,
  otherTargets,
  TARGET_NAMES,
  type BudgetName,
  type Targets,
} from './target-settings.js';
export { hasSuffixes, timeWords, typedNumber } from './typed-numbers.js';
