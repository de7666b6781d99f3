import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { engineV1 } from '#protocol';
import { KeptTrainings } from './kept-trainings.js';

const message = (text: string): engineV1.TrainResponse =>
  engineV1.TrainResponse.fromPartial({ stateChunk: Buffer.from(text), end: text === 'last' ? {} : undefined });
const textOf = ({ stateChunk }: engineV1.TrainResponse): string => stateChunk.toString();

/** A training whose messages the test makes, and the lease of its client. */
class Training {
  leaseMs = 60_000;
  isToFinish = false;
  isStopped = false;
  readonly told: string[] = [];
  private readonly made: string[] = [];
  private readonly news = new EventEmitter();
  readonly kept = new KeptTrainings({
    finishSegment: () => (this.isToFinish = true),
    leaseLeftMs: () => this.leaseMs,
    log: { info: (_: object, text: string) => this.told.push(text), warn: (_: object, text: string) => this.told.push(text) } as never,
  });

  make(...texts: string[]): void {
    this.made.push(...texts);
    this.news.emit('made');
  }

  /** A call of the client; 'end' is the training's end. */
  call(taken = 0, trainingId = 'a'): { signal: AbortController; messages: AsyncGenerator<engineV1.TrainResponse> } {
    const signal = new AbortController();
    const begin = (stop: AbortSignal) => this.source(stop);
    return { signal, messages: this.kept.messages({ trainingId, messagesTaken: BigInt(taken) }, signal.signal, begin) };
  }

  private async *source(stop: AbortSignal): AsyncGenerator<engineV1.TrainResponse> {
    stop.addEventListener('abort', () => (this.isStopped = true));
    for (;;) {
      while (this.made.length === 0) await once(this.news, 'made');
      const text = this.made.shift()!;
      if (text === 'end') return;
      yield message(text);
    }
  }
}

const take = async (messages: AsyncGenerator<engineV1.TrainResponse>, count: number): Promise<string[]> => {
  const texts: string[] = [];
  while (texts.length < count) texts.push(textOf((await messages.next()).value as engineV1.TrainResponse));
  return texts;
};
const rest = async (messages: AsyncGenerator<engineV1.TrainResponse>): Promise<string[]> => {
  const texts: string[] = [];
  for await (const one of messages) texts.push(textOf(one));
  return texts;
};

test('a client that comes back gets each message once, also those that were sent and did not arrive', async () => {
  const training = new Training();
  const { signal, messages } = training.call();
  training.make('1', '2', '3');
  expect(await take(messages, 3)).toEqual(['1', '2', '3']);
  const late = messages.next(); // the call was cut off while it waited
  signal.abort();
  expect(training.isToFinish).toBe(true);
  training.make('4', '5', 'end');
  await late;
  const back = training.call(2); // the third was lost on the way
  expect(await rest(back.messages)).toEqual(['3', '4', '5']);
  expect(training.isStopped).toBe(false);
});

test('it is cut off again and again, at every message, and nothing is lost or doubled', async () => {
  const training = new Training();
  const texts = Array.from({ length: 20 }, (_, index) => String(index));
  const got: string[] = [];
  training.make(...texts, 'end');
  while (got.length < texts.length) {
    const { signal, messages } = training.call(got.length);
    got.push(...(await take(messages, 1)));
    await messages.next().catch(() => undefined); // one more left, and did not arrive
    signal.abort();
    await messages.return(undefined);
  }
  expect(got).toEqual(texts);
});

test('when the lease is over the training is stopped, and its client learns so', async () => {
  const training = new Training();
  const { signal, messages } = training.call();
  training.make('1');
  await take(messages, 1);
  signal.abort();
  training.leaseMs = 0;
  while (!training.isStopped) await sleep(10);
  expect(training.told.at(-1)).toContain('waited for its client is ended');
  for (const taken of [1, 0]) await expect(rest(training.call(taken).messages)).rejects.toMatchObject({ code: 'TRAINING_NOT_KEPT' });
});

test('a client that wants no more of it stops it; messages that it has confirmed are not kept', async () => {
  const training = new Training();
  const { signal, messages } = training.call();
  training.make('1', '2', '3');
  await take(messages, 3);
  training.kept.taken('a', 2);
  training.kept.stopUnread(); // it reads, and so gets the end
  expect(training.isStopped).toBe(false);
  signal.abort();
  training.kept.stopUnread();
  expect(training.isStopped).toBe(true);
});

test('a client that has the end of it is not cut off, and may ask for the end again', async () => {
  const training = new Training();
  const { signal, messages } = training.call();
  training.make('1', 'last');
  expect(await take(messages, 2)).toEqual(['1', 'last']);
  signal.abort();
  training.make('end');
  expect(training.isToFinish).toBe(false);
  expect(await rest(training.call(1).messages)).toEqual(['last']);
  training
    .call(0, 'b')
    .messages.next()
    .catch(() => undefined);
  expect(training.told).toEqual(['the client is back, and gets what was kept for it']);
});

test('another training takes its place', async () => {
  const training = new Training();
  const { signal, messages } = training.call();
  training.make('1');
  await take(messages, 1);
  signal.abort();
  training.make('2', 'end');
  expect(await rest(training.call(0, 'b').messages)).toEqual(['2']);
  expect(training.isStopped).toBe(true);
});
