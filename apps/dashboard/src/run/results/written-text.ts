// A text that a model writes, shown as it arrives.
import { TextEnd, type GenerateResponse, type GenerationOutcome } from '../../generated/espalier/v1/run_service_pb.js';
import { counted, decimal } from '../../ui/format.js';

export interface Written {
  text: string;
  tokens: number;
  waitingFor: string;
  end: TextEnd;
  outcome: GenerationOutcome | undefined;
  /** Why the text ended early; '' where nothing went wrong. */
  problem: string;
  isWriting: boolean;
}

export const NOTHING_WRITTEN: Written = {
  text: '',
  tokens: 0,
  waitingFor: '',
  end: TextEnd.UNSPECIFIED,
  outcome: undefined,
  problem: '',
  isWriting: true,
};

/** Adds the pieces of a message to the text. */
export function continued(
  before: Written,
  { pieces, waitingFor, outcome }: Pick<GenerateResponse, 'pieces' | 'waitingFor' | 'outcome'>,
): Written {
  const last = pieces.at(-1);
  return {
    ...before,
    text: before.text + pieces.map(({ text }) => text).join(''),
    tokens: last?.tokens ?? before.tokens,
    end: last?.end ?? before.end,
    waitingFor,
    outcome: outcome ?? before.outcome,
  };
}

const ENDS: Partial<Record<TextEnd, string>> = {
  [TextEnd.MODEL]: 'the model ended it',
  [TextEnd.STOP]: 'a stop text came',
  [TextEnd.LENGTH]: 'its length is reached',
};

export function writtenWords({ tokens, waitingFor, end, outcome, isWriting, problem }: Written): string {
  if (waitingFor !== '' && isWriting) return `waits for ${waitingFor}`;
  const length = counted(tokens, 'token');
  if (isWriting) return tokens === 0 ? 'is being asked …' : `${length} …`;
  if (problem !== '') return length;
  const passes = Number(outcome?.decodePasses ?? 0);
  const speed = passes > 0 && outcome!.decodeSeconds > 0 ? `, ${decimal(passes / outcome!.decodeSeconds)} tokens/s` : '';
  return `${length}${speed}; ${ENDS[end] ?? 'stopped'}`;
}
