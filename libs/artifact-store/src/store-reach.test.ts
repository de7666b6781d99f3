import { ArtifactStoreError } from './artifact-store.errors.js';
import { StoreReach } from './store-reach.js';

test('the listener hears of each problem once, though reads and writes have it, and once that it is over', () => {
  const reach = new StoreReach();
  const heard: unknown[] = [];
  reach.onChange(() => heard.push(reach.problem?.code ?? 'answers'));
  const busy = new ArtifactStoreError('ARTIFACT_STORE_BUSY', 'is busy');
  reach.failed('read', busy);
  reach.failed('write', busy);
  reach.failed('read', busy);
  reach.worked('read');
  reach.failed('write', new ArtifactStoreError('ARTIFACT_STORE_FULL', 'is full'));
  reach.worked('write');
  reach.worked('write');
  expect(heard).toEqual(['ARTIFACT_STORE_BUSY', 'ARTIFACT_STORE_FULL', 'answers']);
});
