// The engines of a fleet that have joined and that no waiting run can use, since the jobs have an installation of an earlier release. Such
// an engine ends when it has been idle, and the next job would bring another one like it. So further jobs are asked for only after a pause.
import { pauseAfterFailuresMs } from './fleet-decision.js';

export class UnfitEngines {
  /** The reasons in words, by the engines' names. */
  private readonly known = new Map<string, string>();
  private readonly worked = new Set<string>();
  private endsInARow = 0;

  /**
   * @param unfit the engines that no waiting run can use, each with the reason in words
   * @param isHere tells whether an engine has not left. One that has left stays unfit until the end of its job is seen.
   */
  note(unfit: ReadonlyMap<string, string>, isHere: (engine: string) => boolean): void {
    for (const engine of this.known.keys()) if (!unfit.has(engine) && isHere(engine)) this.known.delete(engine);
    for (const [engine, problem] of unfit) this.known.set(engine, problem);
  }

  has(engine: string): boolean {
    return this.known.has(engine);
  }

  /** Called when an engine works for a run. So a run can use it, and earlier ends no longer count. */
  works(engine: string): void {
    this.worked.add(engine);
    this.endsInARow = 0;
  }

  /** Called when an engine's job has ended. @returns the problem and the pause before the next job; null for one that was of use */
  ended(engine: string): { problem: string; pauseMs: number } | null {
    const problem = this.known.get(engine);
    this.known.delete(engine);
    if (this.worked.delete(engine) || problem === undefined) return null;
    this.endsInARow += 1;
    return { problem, pauseMs: pauseAfterFailuresMs(this.endsInARow) };
  }
}
