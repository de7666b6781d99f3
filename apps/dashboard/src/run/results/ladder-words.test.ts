import { LadderState } from '../../generated/espalier/v1/run_service_pb.js';
import { ladderWords } from './ladder-words.js';

const job = { state: LadderState.RUNNING, models: 50, evaluated: 12, etaSeconds: undefined, waitingFor: '', failure: undefined };

describe('the evaluation of a ladder in words', () => {
  test('tells the count, the time that is left and the work before it', () => {
    expect(ladderWords(job)).toBe('12 of 50 models evaluated');
    expect(ladderWords({ ...job, etaSeconds: 42 })).toBe('12 of 50 models evaluated, about 42\u2009s left');
    expect(ladderWords({ ...job, waitingFor: 'run abcd trains' })).toBe(
      '12 of 50 models evaluated; the engine has to finish first: run abcd trains',
    );
  });

  test('tells why it ended', () => {
    expect(ladderWords({ ...job, state: LadderState.CANCELLED })).toMatch(/^Cancelled: 12 of 50/);
    expect(ladderWords({ ...job, state: LadderState.FAILED })).toMatch(/^It failed: the cause is not known/);
    expect(ladderWords({ ...job, state: LadderState.DONE, evaluated: 50 })).toBe('50 of 50 models evaluated.');
  });
});
