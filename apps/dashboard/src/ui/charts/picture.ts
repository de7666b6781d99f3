/** The looks of a chart, whatever its curves are. */
export interface Picture {
  title: string;
  /** The words beside the axis. */
  yName: string;
  /** The values are shares. */
  isShare?: boolean;
  /** The values scatter from step to step, so that a smoothed line shows their course. Sparsities, schedules and rates don't. */
  isNoisy?: boolean;
}
