// Shows a followed run: as a live line on a terminal, otherwise as a plain line now and then. Both show the run's events.
import { targetWithBudget } from '#comparison';
import { v1 } from '#protocol';
import { decimal, duration, howMany, percent, teacherWord } from '../output/format.js';
import { measured, subjectWords } from '../output/evaluation-words.js';
import { missedTarget, missWords, statusText, stepsInAll } from '../output/run-status.js';
import type { Output } from '../output/output.js';
import { connectionWords, type ConnectionNews } from '../connection/lasting-stream.js';
import type { RunUpdate } from './follow-run.js';
import { LiveLine } from './live-line.js';
import { runLine, stepOf, waitAdvice, type RunProgress } from './run-line.js';

const PLAIN_LINE_MS = 10_000;
/** Without a terminal, a line is also printed after this share of the run, so that short runs print some lines. */
const PLAIN_LINE_SHARE = 0.05;

export class RunRenderer {
  private readonly live: LiveLine;
  private progress: RunProgress | null = null;
  private plainAt = 0;
  private plainStep = -Infinity;
  private readonly teachers = new TeacherChanges();

  /** @param translate translates a text of the server, about a field, into the words of the command line */
  constructor(
    private readonly output: Output,
    private readonly translate: (text: string, field: string) => string = (text) => text,
  ) {
    this.live = new LiveLine(output.terminal);
  }

  show(item: RunUpdate): void {
    if (item.kind !== 'update') {
      this.showConnection(item);
      return;
    }
    if (this.output.json) this.output.item(item.update, () => undefined);
    const before = this.progress;
    const run = item.update.run ?? before?.run;
    if (run === undefined) return;
    const latest = item.update.steps.at(-1) ?? (before !== null && !restarted(before.run, run) ? before.latest : undefined);
    this.progress = { run, latest, isNewTeacher: this.teachers.after(item.update.steps) };
    if (this.output.json) return;
    if (before !== null) this.showChanges(before.run, run);
    const isPaused = run.status === v1.RunStatus.RUN_STATUS_PAUSED && run.waitingFor === undefined;
    if (isPaused && before?.run.status !== run.status)
      this.live.print(`paused at step ${run.step}; go on with: espalier resume ${run.runId}`);
    if (run.queuedFor !== '' && run.queuedFor !== before?.run.queuedFor) this.say(`waits for ${run.queuedFor}`);
    if (run.waitingFor !== undefined && run.waitingFor.code !== before?.run.waitingFor?.code) this.showWait(run, run.waitingFor);
    if (this.output.terminal.isLive) this.live.update(runLine(this.progress, this.output.terminal, this.output.terminal.columns - 1));
    else this.showPlain(this.progress, before?.run.status !== run.status);
  }

  private showConnection(item: ConnectionNews): void {
    this.live.note(connectionWords(item));
  }

  private showPlain(progress: RunProgress, statusChanged: boolean): void {
    const share = (stepOf(progress) - this.plainStep) / Math.max(stepsInAll(progress.run) ?? 1, 1);
    if (!statusChanged && Date.now() - this.plainAt < PLAIN_LINE_MS && share < PLAIN_LINE_SHARE) return;
    this.plainAt = Date.now();
    this.plainStep = stepOf(progress);
    this.live.print(runLine(progress, this.output.terminal));
  }

  private showChanges(before: v1.Run, now: v1.Run): void {
    if (now.status !== before.status && now.status === v1.RunStatus.RUN_STATUS_RESTARTING)
      this.say(this.output.style('yellow', `${statusText(now)}: ${now.failure?.message ?? 'it is gone'}`));
    if (now.waitingFor === undefined && before.waitingFor !== undefined && before.waitingFor.command === '')
      this.say(`goes on: no longer waits for ${before.waitingFor.code}`);
    if (now.attempt > before.attempt && before.attempt > 0) this.say(`attempt ${now.attempt} goes on from step ${now.step}`);
    if (now.targetReachedStep >= 0n && before.targetReachedStep < 0n) {
      const target = targetWithBudget(now.settings ?? {});
      // With the recipe distill, the intact model teaches throughout.
      const change = now.settings?.recipe === v1.Recipe.RECIPE_NUTEPRUNE ? '; teachers now go from weak to strong' : '';
      this.say(`target of ${target} reached at step ${now.targetReachedStep}${change}`);
    }
    if (missedTarget(now) && !missedTarget(before) && now.status === v1.RunStatus.RUN_STATUS_TRAINING)
      this.say(this.output.style('yellow', `pruning is done at step ${now.step}, and ${missWords(now)}`));
    if (now.skippedSteps > before.skippedSteps)
      this.say(this.output.style('yellow', `${howMany(now.skippedSteps, 'step')} skipped so far (values not finite)`));
    if (now.rewinds > before.rewinds) this.say(`rewound to step ${now.step}`);
    for (const evaluation of now.evaluations.slice(before.evaluations.length)) {
      const { metric, value } = measured(evaluation);
      this.say(`${metric} ${decimal(value)} (${subjectWords(evaluation)}, step ${evaluation.step})`);
    }
  }

  private showWait(run: v1.Run, wait: v1.Wait): void {
    this.live.print(this.output.style('yellow', `${statusText(run)} at step ${run.step}: ${wait.message}; ${waitAdvice(wait)}`));
  }

  /** Prints a line for people above the live line. */
  say(text: string): void {
    this.live.print(text);
  }

  /** Prints the closing words. With --json nothing is printed, since the last update holds everything. */
  end(): void {
    if (this.progress === null || this.output.json) return;
    const { run } = this.progress;
    const words =
      `${statusText(run)} at step ${run.step} of ${stepsInAll(run) ?? 0}: hard sparsity ${percent(run.hardSparsity)}, ` +
      `${howMany(run.teacherCount, 'teacher')}, last instructed by ${teacherWord(run.teacher)}, ` +
      `${duration(run.trainingSeconds)} of training`;
    this.live.end(words);
    if (missedTarget(run)) this.live.print(this.output.style('yellow', missWords(run)));
    for (const { problem } of run.damage) this.live.print(`damage: ${problem}`);
    if (run.failure?.code && run.status === v1.RunStatus.RUN_STATUS_FAILED)
      this.live.print(`cause: ${run.failure.code}: ${this.translate(run.failure.message, run.failure.field)}`);
  }

  /** Removes the live line, for example before an error is printed. */
  clear(): void {
    this.live.end();
  }

  get run(): v1.Run | undefined {
    return this.progress?.run;
  }
}

/** The number of steps for which a loss that rose with a new teacher is marked. */
const NEW_STEPS = 5;

/** Tracks when the teacher changed last, as far as the steps show it. */
class TeacherChanges {
  private word: string | undefined;
  private since = -Infinity;
  private last = -Infinity;

  /** Takes steps, and tells whether the teacher is a new one after them. */
  after(steps: readonly v1.StepMetrics[]): boolean {
    for (const { step, teacher } of steps) {
      const word = teacherWord(teacher);
      if (this.word !== undefined && word !== this.word) this.since = Number(step);
      this.word = word;
      this.last = Number(step);
    }
    return this.last - this.since < NEW_STEPS;
  }
}

/** Tells whether a new attempt or a rewind has reset the step count. Earlier reports would then show steps that no longer exist. */
function restarted(before: v1.Run, now: v1.Run): boolean {
  return now.attempt !== before.attempt || now.rewinds !== before.rewinds;
}
