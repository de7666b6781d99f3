import { TurnQueue } from './turn-queue.js';

const never = new AbortController().signal;

test('two work at once, the others in their order; a caller that goes while it waits is passed over', async () => {
  const turns = new TurnQueue(2);
  const log: string[] = [];
  const ends = new Map<string, () => void>();
  const job = (name: string, signal = never): Promise<void> =>
    turns.run(() => {
      log.push(name);
      return new Promise((resolve) => ends.set(name, resolve));
    }, signal);
  const gone = new AbortController();
  const [first, second, third, fourth] = [job('first'), job('second'), job('third', gone.signal), job('fourth')];
  expect(log).toEqual(['first', 'second']);
  gone.abort(new Error('its client has gone'));
  await expect(third).rejects.toThrow('its client has gone');
  ends.get('first')!();
  await first;
  await Promise.resolve();
  expect(log).toEqual(['first', 'second', 'fourth']);
  ends.get('second')!();
  ends.get('fourth')!();
  await Promise.all([second, fourth]);
  await expect(turns.run(() => Promise.reject(new Error('it failed')), never)).rejects.toThrow('it failed');
  await expect(turns.run(() => Promise.resolve(1), never)).resolves.toBe(1);
  await expect(turns.run(() => Promise.resolve(1), AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
});
