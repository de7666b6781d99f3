import { UnfitEngines } from './unfit-engines.js';

const WHY = 'is older than the server and does not know the setting mask_noise: update the engine';
const noted = (unfit: UnfitEngines, ...engines: string[]): void =>
  unfit.note(new Map(engines.map((engine) => [engine, WHY])), (engine) => !engine.startsWith('gone'));

test('each engine in a row that ended without being of use doubles the pause before the next job, up to ten minutes', () => {
  const unfit = new UnfitEngines();
  const pauses = Array.from({ length: 9 }, (_, index) => {
    noted(unfit, `gone-${index}`);
    noted(unfit); // the engine has left, and the end of its job is not seen yet
    return unfit.ended(`gone-${index}`);
  });
  expect(pauses[0]).toEqual({ problem: WHY, pauseMs: 5_000 });
  expect(pauses.map((one) => one!.pauseMs / 1_000)).toEqual([5, 10, 20, 40, 80, 160, 320, 600, 600]);
});

test('an engine that worked for a run was of use, and the pauses begin again', () => {
  const unfit = new UnfitEngines();
  noted(unfit, 'a');
  expect(unfit.ended('a')).toMatchObject({ pauseMs: 5_000 });
  noted(unfit, 'b', 'c');
  unfit.works('b');
  expect([unfit.has('b'), unfit.ended('b')]).toEqual([true, null]); // another run, which can't use it, waits beside
  expect(unfit.ended('c')).toMatchObject({ pauseMs: 5_000 });
});

test('an engine is fit again once a run waits that can use it', () => {
  const unfit = new UnfitEngines();
  noted(unfit, 'a');
  noted(unfit);
  expect([unfit.has('a'), unfit.ended('a')]).toEqual([false, null]);
});
