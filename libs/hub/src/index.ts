// Names of the Hugging Face hub in place of paths, the files that they stand for, and models that are published there.
export { fetchName, textOf, type Fetched, type FetchOptions } from './fetch-name.js';
export { HubError, type HubProblem } from './hub-error.js';
export { pushFiles, type PushedFile, type PushOptions } from './push-files.js';
export { cachedPath, hubCache, hubName, HubNameError, hubPath, nameToFetch, pathWords, type HubKind, type HubName } from './hub-names.js';
