// Says in words what an engine lacks.

/** @param unknown the names of the fields that the engine does not know, of which there is at least one */
export const earlierEngineWords = (unknown: readonly string[]): string =>
  `is older than the server and does not know ${unknown.join(', ')}: it gets no run that needs it, until it is updated`;
