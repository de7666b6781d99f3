// Tests which artifacts a viewer may download.
import { plainHandler, type CallInfo } from '#protocol';
import type { Grant } from './admission/access.js';
import { ArtifactGrpc } from './artifact.grpc.js';

const [weights, tokens] = ['a'.repeat(64), 'b'.repeat(64)];
const views = { isOfExport: (digest: string) => digest === weights, discardOf: () => null };
const artifacts = {
  stat: () => Promise.resolve({ bytes: 5, mediaType: 'application/octet-stream' }),
  async *open() {
    yield await Promise.resolve(Buffer.from('bytes'));
  },
};
const grantOf = (role: 'viewer' | 'operator'): Grant => ({ kind: 'token', token: { role } }) as unknown as Grant;

async function download(digest: string, role: 'viewer' | 'operator', viewersReadTexts = false): Promise<string> {
  const callers = { grantOf: () => grantOf(role) };
  const { downloadArtifact } = new ArtifactGrpc(views as never, artifacts as never, callers as never, { viewersReadTexts }).handlers();
  const messages = plainHandler(downloadArtifact)({ digest, offset: 0n }, new AbortController().signal, {} as CallInfo);
  let text = '';
  for await (const { chunk } of messages as AsyncIterable<{ chunk: Buffer }>) text += chunk.toString();
  return text;
}

async function stat(digest: string, role: 'viewer' | 'operator'): Promise<unknown> {
  const callers = { grantOf: () => grantOf(role) };
  const { statArtifact } = new ArtifactGrpc(views as never, artifacts as never, callers as never, { viewersReadTexts: false }).handlers();
  return plainHandler(statArtifact)({ digest }, new AbortController().signal, {} as CallInfo);
}

test('a viewer learns the sizes of what it may read alone', async () => {
  expect(await stat(weights, 'viewer')).toMatchObject({ bytes: 5n });
  await expect(stat(tokens, 'viewer')).rejects.toMatchObject({ code: 'ROLE_TOO_LOW' });
  expect(await stat(tokens, 'operator')).toMatchObject({ bytes: 5n });
});

test('a viewer reads the files of exports, and no text, tokens or state of a run', async () => {
  expect(await download(weights, 'viewer')).toBe('bytes');
  await expect(download(tokens, 'viewer')).rejects.toMatchObject({
    code: 'ROLE_TOO_LOW',
    metadata: { role: 'viewer', needed: 'operator' },
  });
  expect(await download(tokens, 'operator')).toBe('bytes');
  expect(await download(tokens, 'viewer', true)).toBe('bytes'); // the server was started so
});
