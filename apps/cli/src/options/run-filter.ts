// The options that select runs, and the selected runs.
import type { Command } from 'commander';
import { v1 } from '#protocol';
import type { Connection } from '../connection/connection.js';
import { gathered } from './label-options.js';
import { choices, STATUSES } from './parse.js';

export interface RunFilterOptions {
  status?: v1.RunStatus[];
  tag?: string[];
  where?: string[];
}
type ListRequest = Partial<v1.ListRunsRequest>;

const LARGEST_PAGE = 500;

export function addRunFilter(command: Command): Command {
  return command
    .option('--status <names>', `only these: ${Object.keys(STATUSES).join(', ')}`, choices(STATUSES))
    .option('--tag <tag>', 'that have this tag; given several times, all of them', gathered)
    .option(
      '--where <condition>',
      "by a setting or a figure: target_sparsity=0.5, 'perplexity<6', 'boolq acc>0.6'; given several times, all hold",
      gathered,
    );
}

export function runFilter({
  status = [],
  tag = [],
  where = [],
}: RunFilterOptions): Pick<v1.ListRunsRequest, 'statuses' | 'tags' | 'where'> {
  return { statuses: status, tags: tag, where };
}

/** Reads page after page until it has `limit` runs. */
export async function listedRuns(connection: Connection, asked: ListRequest, limit = Infinity): Promise<v1.ListRunsResponse> {
  const found: v1.Run[] = [];
  let pageToken = asked.pageToken ?? '';
  let total = 0;
  do {
    const pageSize = Math.min(limit - found.length, LARGEST_PAGE);
    const request = v1.ListRunsRequest.fromPartial({ ...asked, pageSize, pageToken });
    const response = await connection.call(connection.runs, connection.runs.listRuns, request);
    found.push(...response.runs);
    total = response.total;
    pageToken = response.nextPageToken;
  } while (pageToken !== '' && found.length < limit);
  return { runs: found, nextPageToken: pageToken, total };
}
