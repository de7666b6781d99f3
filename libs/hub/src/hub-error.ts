/** The codes of problems with the hub. */
export type HubProblem =
  | 'HUB_UNREACHABLE' // no answer, or none of use, after several tries
  | 'HUB_ACCESS_DENIED' // the token is missing, wrong, or has no right to the repository
  | 'HUB_NOT_FOUND' // no such repository, revision or file
  | 'HUB_REFUSED' // another refusal of a request
  | 'HUB_ANSWER_INVALID' // an answer that names what may not be written, or goes where no request may go
  | 'HUB_FILE_DAMAGED' // the bytes have another digest than the hub says, twice
  | 'HUB_DISK_FULL'
  | 'HUB_OFFLINE'; // the environment forbids to ask the hub

export class HubError extends Error {
  constructor(
    readonly code: HubProblem,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
