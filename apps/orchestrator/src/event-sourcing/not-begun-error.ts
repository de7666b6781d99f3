/** The error of a change to an aggregate that does not exist. The repository replaces it by an error that names the aggregate. */
export class NotBegun extends Error {}

/** Returns the aggregate's state. @throws NotBegun where the aggregate does not exist */
export function begun<State>(state: State | null): State {
  if (state === null) throw new NotBegun('there is nothing yet that this could change');
  return state;
}
