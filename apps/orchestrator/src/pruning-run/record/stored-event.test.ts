import { canonicalJson } from '../../event-sourcing/canonical-json.js';
import { CHAIN_START, chainProblem, decodeStored, encodeFacts } from './stored-event.js';
import { launched, Story, stateAt } from '../testing.js';
import { eventTypesOf } from '../../event-sourcing/event-types.js';

describe('canonical JSON', () => {
  it('has one text for equal values', () => {
    expect(canonicalJson({ b: [1, 'x', null, true], a: { d: 1e21, c: undefined } })).toBe('{"a":{"d":1e+21},"b":[1,"x",null,true]}');
  });
  it('refuses what JSON cannot hold', () => {
    expect(() => canonicalJson({ a: Number.NaN })).toThrow(TypeError);
    expect(() => canonicalJson({ a: 1n })).toThrow(TypeError);
  });
});

describe('the digest chain', () => {
  const story = new Story(launched()).start().train(stateAt(10, 0.02), stateAt(20, 0.04));
  const { stored, events } = encodeFacts(story.facts, CHAIN_START, (index) => String(index));

  it('holds over what was written, and reads back as it was decided', () => {
    let chain = CHAIN_START;
    stored.forEach((one, index) => {
      expect(chainProblem(chain, one)).toBeNull();
      const decoded = decodeStored(one);
      expect(decoded).toEqual(events[index]);
      chain = decoded.chain;
    });
  });
  it('finds any flipped byte, in the data, the type or the id, at its event', () => {
    const victim = stored[3]!;
    const before = events[2]!.chain;
    for (let index = 0; index < victim.data.length; index += 1) {
      const data = Uint8Array.from(victim.data);
      data[index]! ^= 1;
      expect(chainProblem(before, { ...victim, data })).not.toBeNull();
    }
    expect(chainProblem(before, { ...victim, type: 'TeacherAssignef' })).not.toBeNull();
    expect(chainProblem(before, { ...victim, id: `${victim.id}0` })).not.toBeNull();
  });
  it('finds an event that is missing', () => {
    expect(chainProblem(events[1]!.chain, stored[3]!)).not.toBeNull();
  });
});

describe('old and unknown events', () => {
  it('are brought to the current version step by step', () => {
    const types = eventTypesOf(
      { RunCancelled: true, RunPaused: true },
      { RunCancelled: [(fields) => ({ ...fields, reason: fields['why'] }), (fields) => ({ ...fields, n: 3 })] },
    );
    expect([types.versionOf('RunCancelled'), types.versionOf('RunPaused')]).toEqual([3, 1]);
    expect(types.upcast('RunCancelled', 1, { why: 'x' })).toEqual({ why: 'x', reason: 'x', n: 3 });
    expect(types.upcast('RunCancelled', 2, { reason: 'y' })).toEqual({ reason: 'y', n: 3 });
  });
  it('are kept if this release does not know them; a later version of a known type is kept, too', () => {
    const read = (type: string, v: number): unknown =>
      decodeStored({ type, data: Buffer.from(canonicalJson({ v, at: 't', chain: 'c', x: 1 })) });
    expect(read('RunBlessed', 1)).toEqual({ type: 'Unknown', storedType: 'RunBlessed', v: 1, at: 't', chain: 'c', data: { x: 1 } });
    expect(read('RunCancelled', 99)).toMatchObject({ type: 'Unknown', storedType: 'RunCancelled', data: { x: 1 } });
  });
});
