// The charts of a page, which share one cursor and one zoom.
import { Chart, type ChartProps } from './chart.js';

/** The looks of a chart, whatever its curves are. */
export interface Picture {
  title: string;
  /** The words beside the axis. */
  yName: string;
  /** The values are shares. */
  isShare?: boolean;
  /** The chart has a logarithmic scale where the page asks for one. */
  log?: boolean;
  /** The values scatter from step to step, so that a smoothed line shows their course. Sparsities, schedules and rates don't. */
  isNoisy?: boolean;
}

interface ChartsProps extends Pick<ChartProps, 'isClock' | 'marks' | 'cursor' | 'onZoom' | 'smoothing'> {
  charts: (Picture & Pick<ChartProps, 'x' | 'xName' | 'curves'>)[];
  log: boolean;
  /** The beginning of the names of files in which charts are saved. */
  fileName: string;
}

export function Charts({ charts, log, fileName, ...shared }: ChartsProps) {
  return (
    <div class="charts">
      {charts.map(({ log: mayLog, isNoisy: _, ...chart }) => (
        <Chart key={chart.title} {...shared} {...chart} log={log && mayLog === true} fileName={`${fileName} ${chart.title}`} />
      ))}
    </div>
  );
}
