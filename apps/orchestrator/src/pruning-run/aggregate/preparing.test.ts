import { artifactsOf } from './discarding.js';
import { fold, isPrepared, isRunnable, neededArtifacts } from './pruning-run.js';
import type { NewFact } from '../record/pruning-run.events.js';
import { encodeFacts } from '../record/stored-event.js';
import { data, fact, launched, model, stateAt, Story, typesOf } from '../testing.js';

const unread = {
  model: { ...model, weightsDigest: '' },
  data: { ...data, trainDigest: '', trainTokens: 0, validationDigest: null, validationTokens: 0, tokenizerDigest: '' },
};
function launchedUnread(): NewFact {
  const { data: content } = launched() as Extract<NewFact, { type: 'RunLaunched' }>;
  return fact('RunLaunched', { ...content, ...unread });
}
const refusal = (code: string): Error => expect.objectContaining({ code });
const failure = { code: 'DATA_MALFORMED', message: 'line 3: not valid JSON', field: 'data.train_path' };

describe('a run between its launch and its training', () => {
  it('is preparing, and no engine may take it', () => {
    const story = new Story(launchedUnread());
    expect(story.state).toMatchObject({ status: 'preparing', attemptOpen: false });
    expect(isRunnable(story.state)).toBe(true);
    expect(() => story.when({ kind: 'startAttempt', attempt: 1 })).toThrow(refusal('ATTEMPT_STALE'));
  });

  it('has its identities once it is prepared, and is what a run launched with them is', () => {
    const story = new Story(launchedUnread());
    expect(typesOf(story.when({ kind: 'prepare', model, data, seconds: 0 }))).toEqual(['RunPrepared']);
    const { revision: _r, chain: _c, ...prepared } = story.state;
    const { revision: _s, chain: _d, ...before } = fold(encodeFacts([launched()], '', () => '').events)!;
    expect(prepared).toEqual(before);
    expect(story.when({ kind: 'prepare', model, data, seconds: 0 })).toEqual([]); // the change is a retry
    story.start().train(stateAt(10, 0.01));
    expect(story.state.status).toBe('training');
  });

  it('a history without preparing was launched prepared', () => {
    expect(isPrepared(new Story(launched()).state)).toBe(true);
    expect(new Story(launched()).when({ kind: 'prepare', model, data, seconds: 0 })).toEqual([]);
  });

  it('is cancelled for good', () => {
    const story = new Story(launchedUnread());
    story.when({ kind: 'cancel', reason: '' });
    expect(story.state.status).toBe('cancelled');
    expect(() => story.when({ kind: 'prepare', model, data, seconds: 0 })).toThrow(refusal('RUN_FINISHED'));
    expect(story.when({ kind: 'failPreparation', ...failure, passes: false })).toEqual([]);
  });

  it('is paused at once, and prepared when it goes on; work that was done by then counts', () => {
    const story = new Story(launchedUnread());
    expect(typesOf(story.when({ kind: 'requestPause' }))).toEqual(['RunPaused']);
    expect(story.when({ kind: 'failPreparation', ...failure, passes: false })).toEqual([]);
    story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false });
    expect(story.state.status).toBe('preparing');
    story.when({ kind: 'requestPause' });
    story.when({ kind: 'prepare', model, data, seconds: 0 });
    expect(story.state.status).toBe('paused');
    story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false });
    expect(story.state.status).toBe('queued');
  });

  it('fails with what was wrong, and can be tried again once that is mended', () => {
    const story = new Story(launchedUnread());
    expect(story.when({ kind: 'failPreparation', ...failure, passes: false })).toEqual([fact('RunFailed', { step: 0, ...failure })]);
    story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false });
    expect(story.state).toMatchObject({ status: 'preparing', failure: null });
  });

  it.each(['ENGINE_LOST', 'READER_LOST'])('waits if a user can mend the cause that keeps it from being prepared (%s)', (code) => {
    const story = new Story(launchedUnread());
    const cause = { code, message: 'it died', field: '' };
    expect(story.when({ kind: 'failPreparation', ...cause, passes: true })).toEqual([
      fact('RunPaused', { step: 0, by: 'obstacle', cause }),
    ]);
  });

  it('needs no artifacts, and leaves none behind when it is deleted', () => {
    const story = new Story(launchedUnread());
    expect([...neededArtifacts(story.state)]).toEqual([]);
    expect(artifactsOf(story.state)).toEqual([]);
    story.when({ kind: 'prepare', model, data, seconds: 0 });
    expect([...neededArtifacts(story.state).keys()]).toEqual([data.trainDigest, data.validationDigest]);
  });

  it('cannot be forked', () => {
    const parent = new Story(launchedUnread()).state;
    const fork = {
      kind: 'fork',
      runId: 'bbbbccccdddd',
      name: '',
      requestId: 'r',
      requestDigest: '',
      parent,
      overrides: {},
      data: null,
    } as const;
    expect(() => new Story().when({ ...fork, from: { kind: 'last' } })).toThrow(refusal('RUN_NOT_STARTED'));
  });
});
