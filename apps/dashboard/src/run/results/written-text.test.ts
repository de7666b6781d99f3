import { create } from '@bufbuild/protobuf';
import { GenerateResponseSchema, TextEnd } from '../../generated/espalier/v1/run_service_pb.js';
import { continued, NOTHING_WRITTEN, writtenWords } from './written-text.js';

const message = (part: Parameters<typeof create<typeof GenerateResponseSchema>>[1]) => create(GenerateResponseSchema, part);

test('pieces follow each other, and the last one says how the text ended', () => {
  const waiting = continued(NOTHING_WRITTEN, message({ waitingFor: 'run abcd trains' }));
  expect(writtenWords(waiting)).toBe('waits for run abcd trains');
  const begun = continued(
    waiting,
    message({
      pieces: [
        { text: 'Once ', tokens: 1 },
        { text: 'upon', tokens: 2 },
      ],
    }),
  );
  expect([begun.text, writtenWords(begun)]).toEqual(['Once upon', '2 tokens …']);
  const whole = continued(begun, message({ pieces: [{ text: '.', tokens: 3, end: TextEnd.MODEL }] }));
  const ended = continued(whole, message({ outcome: { decodePasses: 3n, decodeSeconds: 0.5 } }));
  expect(ended.text).toBe('Once upon.');
  expect(writtenWords({ ...ended, isWriting: false })).toBe('3 tokens, 6 tokens/s; the model ended it');
});

test('a text that was stopped or failed keeps what is there', () => {
  const begun = continued(NOTHING_WRITTEN, message({ pieces: [{ text: 'Once', tokens: 1 }] }));
  expect(writtenWords({ ...begun, isWriting: false })).toBe('1 token; stopped');
  expect(writtenWords({ ...begun, isWriting: false, problem: 'the engine is gone' })).toBe('1 token');
});
