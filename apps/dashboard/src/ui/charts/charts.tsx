// The charts of a page, which share one cursor and one zoom.
import { Chart, type ChartProps } from './chart.js';
import type { Picture } from './picture.js';

interface ChartsProps extends Pick<ChartProps, 'xLook' | 'isPath' | 'marks' | 'cursor' | 'onZoom' | 'smoothing' | 'source'> {
  charts: (Picture & Pick<ChartProps, 'x' | 'xName' | 'curves'>)[];
  /** The titles of the charts with a logarithmic axis. */
  logs: readonly string[];
  setLogs: (titles: string[]) => void;
  /** The beginning of the names of files in which charts are saved. */
  fileName: string;
}

export function Charts({ charts, logs, setLogs, fileName, ...shared }: ChartsProps) {
  return (
    <div class="charts">
      {charts.map(({ isNoisy: _, ...chart }) => {
        const others = logs.filter((title) => title !== chart.title);
        return (
          <Chart
            key={chart.title}
            {...shared}
            {...chart}
            log={logs.includes(chart.title)}
            setLog={(log) => setLogs(log ? [...others, chart.title] : others)}
            fileName={`${fileName} ${chart.title}`}
          />
        );
      })}
    </div>
  );
}

const BETWEEN = ';';
export const logsOf = (text: string | null): string[] => (text ?? '').split(BETWEEN).filter(Boolean);
export const logsText = (titles: readonly string[]): string => titles.join(BETWEEN);
