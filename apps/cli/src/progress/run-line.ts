// One line that says how a run is going. In a narrow terminal the least important parts are left out.
import { LOSS_NAMES, LOSSES, targetWithBudget, timeWords } from '#comparison';
import { v1 } from '#protocol';
import { bar, decimal, duration, learningLoss, percent, shortCount, teacherWord } from '../output/format.js';
import { statusStyle, statusText, stepsInAll } from '../output/run-status.js';
import { styled, type Style, type Terminal } from '../output/terminal.js';

/** The content of the line: the recorded run, and the last step that the engine has reported since. */
export interface RunProgress {
  run: v1.Run;
  latest: v1.StepMetrics | undefined;
  /** The teacher changed a few steps ago. The loss is the distance to the teacher, so it can't be compared with the loss before. */
  isNewTeacher?: boolean;
}

export function stepOf({ run, latest }: RunProgress): number {
  return Math.max(Number(run.step), latest === undefined ? 0 : Number(latest.step) + 1);
}

export function waitWords(wait: v1.Wait): string {
  return `${wait.code}: ${wait.message}; ${waitAdvice(wait)}`;
}

export function waitAdvice({ command }: v1.Wait): string {
  return command === '' ? 'it goes on by itself' : `go on with: ${command}`;
}

interface Part {
  text: string;
  style?: Style;
  /** The part with the highest number is left out first. */
  expendable: number;
}

function parts(progress: RunProgress, terminal: Terminal): Part[] {
  const { run, latest } = progress;
  const total = stepsInAll(run) ?? 0;
  const step = stepOf(progress);
  const expected = latest?.expectedSparsity ?? run.expectedSparsity;
  const scheduled = latest?.scheduledSparsity ?? run.scheduledSparsity;
  if (run.preparation !== undefined) return preparationParts(run, run.preparation, terminal);
  if (run.stepsToChoose) return preparationParts(run, { doing: choiceWords(run), doneShare: 0 }, terminal);
  const shown: Part[] = [
    { text: statusText(run), style: statusStyle(run), expendable: 0 },
    { text: `${step}/${total}`, style: 'bold', expendable: 0 },
    { text: bar(total === 0 ? 0 : step / total, 16, terminal.unicode), style: 'cyan', expendable: 3 },
  ];
  const eta = etaSeconds(progress);
  if (Number.isFinite(eta)) shown.push({ text: `ETA ${duration(eta)}`, expendable: 1 });
  shown.push({ text: `sparsity ${percent(expected)}`, style: 'green', expendable: 0 });
  shown.push({ text: `of ${percent(scheduled)} scheduled, ${targetWithBudget(run.settings ?? {})} target`, expendable: 6 });
  shown.push({
    text: `${progress.isNewTeacher ? 'new ' : ''}teacher ${teacherWord(latest?.teacher?.teacher ? latest.teacher : run.teacher)}`,
    expendable: 2,
  });
  const metrics = latest ?? run.lastStep;
  if (metrics !== undefined) shown.push(...losses(metrics));
  if (run.tokensPerSecond > 0) shown.push({ text: `${shortCount(run.tokensPerSecond)} tok/s`, expendable: 4 });
  return shown;
}

/** The words in place of the steps that are not chosen yet. */
export const choiceWords = ({ settings }: v1.Run): string =>
  `as many steps as fit ${timeWords(settings?.time ?? 0)}, once they are measured`;

function preparationParts(run: v1.Run, { doing, doneShare }: v1.Preparation, terminal: Terminal): Part[] {
  return [
    { text: statusText(run), style: statusStyle(run), expendable: 0 },
    { text: bar(doneShare, 16, terminal.unicode), style: 'cyan', expendable: 3 },
    { text: doing, expendable: 1 },
  ];
}

function losses(metrics: v1.StepMetrics): Part[] {
  const detail = LOSS_NAMES.flatMap((name) => {
    const { short, unit } = LOSSES[name];
    return metrics[name] === undefined ? [] : [`${short} ${decimal(metrics[name], 3)} ${unit}`.trimEnd()];
  });
  return [
    { text: `loss ${decimal(learningLoss(metrics), 3)}`, expendable: 2 },
    ...(detail.length > 1 ? [{ text: `(${detail.join(', ')})`, expendable: 5 }] : []),
    { text: `Lagrangian ${decimal(metrics.lagrangian, 3)}`, expendable: 7 },
  ];
}

/**
 * The seconds that are left; NaN while the run stands still, or its speed is not known. The server's estimate counts from the last recorded
 * step, so the steps done since then are subtracted.
 */
export function etaSeconds(progress: RunProgress): number {
  const { run } = progress;
  if (run.status !== v1.RunStatus.RUN_STATUS_TRAINING || run.waitingFor !== undefined) return Number.NaN;
  const left = (stepsInAll(run) ?? 0) - stepOf(progress);
  const leftThen = (stepsInAll(run) ?? 0) - Number(run.step);
  return run.etaSeconds > 0 && leftThen > 0 ? (run.etaSeconds * left) / leftThen : Number.NaN;
}

export function runLine(progress: RunProgress, terminal: Terminal, columns = Infinity): string {
  let shown = parts(progress, terminal);
  const width = () => shown.reduce((sum, part) => sum + part.text.length, 0) + 2 * (shown.length - 1);
  while (width() > columns) {
    const most = Math.max(...shown.map((part) => part.expendable));
    if (most === 0) break;
    shown = shown.filter((part) => part.expendable !== most);
  }
  return shown.map((part) => (part.style === undefined ? part.text : styled(terminal, part.style, part.text))).join('  ');
}
