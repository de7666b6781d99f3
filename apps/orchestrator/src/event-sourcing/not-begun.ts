/** A change met no aggregate, though it does not begin one. The repository, which knows the id, says so by its name. */
export class NotBegun extends Error {}

/** The aggregate that a change is for. @throws NotBegun */
export function begun<State>(state: State | null): State {
  if (state === null) throw new NotBegun('there is nothing yet that this could change');
  return state;
}
