/** A change needs an aggregate that does not exist. The repository knows the id and names the aggregate in its error. */
export class NotBegun extends Error {}

/** The aggregate that a change is for. @throws NotBegun */
export function begun<State>(state: State | null): State {
  if (state === null) throw new NotBegun('there is nothing yet that this could change');
  return state;
}
