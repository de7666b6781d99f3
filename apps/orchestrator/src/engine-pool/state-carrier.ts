// Brings states from an engine on another machine to the store and back. Where the store is a bucket, the engine reads and writes it by
// addresses that are signed for it, so that the bytes don't pass this process. Where the engine can't reach the bucket, they do.
import type { Logger } from 'pino';
import { MEDIA_TYPE_SAFETENSORS, type ArtifactAddresses, type ArtifactStore, type SignedPart } from '#artifact-store';
import { bytesOfSlices, digestOfSlices, type Slice } from '#files';
import { EspalierError, toEspalierError, type engineV1 } from '#protocol';
import type { LiveEngine } from '../engines/engine-supervisor.js';
import { wholeOf } from '../engines/wire/received-answers.js';
import type { StateOrigin } from '../engines/wire/sent-data.js';
import type { StateArrival, StateUnderWay, TrainedSegment } from '../engines/wire/training-progress.js';

/** An address may expire before its turn: with fresh ones, only the parts that are missing are written. */
const TRIES = 3;
/** After this time an engine that could not reach the bucket tries it again. */
const PASSES_FOR_MS = 600_000;
/** The errors of an engine that can't read a state from its file: a cache removed it, or it was set aside or damaged. */
const CAN_NOT_BE_READ = new Set(['STATE_CORRUPT', 'IO_ERROR', 'FILE_NOT_REGULAR']);

export class StateCarrier {
  private unreachableUntilMs = 0;
  private isTold = false;

  constructor(
    private readonly engine: Pick<LiveEngine, 'client' | 'sharesFiles'>,
    private readonly artifacts: Pick<ArtifactStore, 'open' | 'addresses' | 'fileOf'>,
    private readonly about: { name: string; log: Pick<Logger, 'info' | 'warn'> },
  ) {}

  /** The size of the parts in which the engine shall hold its states; 0: it sends them. */
  get partBytes(): number {
    return this.addresses?.partBytes ?? 0;
  }

  private get addresses(): ArtifactAddresses | undefined {
    if (this.engine.sharesFiles || performance.now() < this.unreachableUntilMs) return undefined;
    return this.artifacts.addresses;
  }

  /**
   * Gives the engine an artifact: first by the file or the address at which the engine reads it by itself, and its bytes where it can't be
   * read there.
   */
  async give<T>(digest: string, load: (from: StateOrigin) => Promise<T>): Promise<T> {
    const bytes = (): StateOrigin => ({ bytes: this.artifacts.open(digest) });
    const file = this.engine.sharesFiles ? this.artifacts.fileOf(digest) : null;
    if (file !== null)
      return load({ file }).catch((error: unknown) => {
        if (!CAN_NOT_BE_READ.has((error as EspalierError).code)) throw error;
        return load(bytes()); // this fails with the right error where the artifact is damaged or gone
      });
    const { addresses } = this;
    if (addresses === undefined) return load(bytes());
    try {
      const loaded = await load({ addresses: await addresses.toRead(digest) });
      this.worked();
      return loaded;
    } catch (error) {
      if (!this.isOfTheWay(error)) throw error;
      return load(bytes());
    }
  }

  /**
   * Fetches a state that the engine holds. Returns when the state is in the store or in this process, and the engine was told to release
   * it.
   */
  underWay(outcome: TrainedSegment): StateUnderWay {
    const arrival = this.arrivalOf(outcome).catch((error: unknown) => {
      const known = toEspalierError(error);
      throw known.code === 'STATE_NOT_HELD' ? new EspalierError('ENGINE_LOST', known.message, { cause: error }) : known;
    });
    arrival.catch(() => undefined); // its reader gets the error
    return { arrival };
  }

  private async arrivalOf(outcome: TrainedSegment): Promise<StateArrival> {
    const { digest } = outcome.state;
    const release = (): void => void this.engine.client.releaseState(digest).catch(() => undefined); // a lost engine holds nothing for us
    let isHeld = false;
    try {
      if (await this.isWritten(digest, outcome)) return 'stored';
      if (outcome.slices.length === 0) return await wholeOf(outcome, this.engine.client.heldState(outcome));
      isHeld = true;
      return { slices: slicesOf(outcome), sent: () => this.engine.client.heldState(outcome), release };
    } finally {
      if (!isHeld) release();
    }
  }

  private async isWritten(digest: string, outcome: TrainedSegment): Promise<boolean> {
    const bytes = Number(outcome.stateBytes);
    const slices = slicesOf(outcome);
    const { partSums } = outcome;
    for (let tries = 1; ; tries += 1) {
      const { addresses } = this;
      if (addresses === undefined) return false;
      const parts = (size: number): number => Math.ceil(size / addresses.partBytes);
      const expected = slices.length === 0 ? parts(bytes) : slices.reduce((sum, slice) => sum + parts(slice.bytes), 0);
      if (partSums.length !== expected)
        throw new EspalierError('ENGINE_FAILED', `the engine told ${partSums.length} sums of parts of a state of ${bytes} bytes`);
      try {
        await addresses.write({ digest, bytes, partSums, slices, mediaType: MEDIA_TYPE_SAFETENSORS }, (signed) =>
          this.engine.client.putState(putRequest(digest, signed)),
        );
        this.worked();
        return true;
      } catch (error) {
        if (!this.isOfTheWay(error)) throw error;
        if ((error as EspalierError).code !== 'BUCKET_ADDRESS_REFUSED' || tries === TRIES) return false;
      }
    }
  }

  /** Tells whether the error is one of the way by the bucket, so that the state passes this server; false where it is the engine's own. */
  private isOfTheWay(error: unknown): boolean {
    const { code, message } = error as Partial<EspalierError>;
    if (code === 'BUCKET_UNREACHABLE') {
      this.unreachableUntilMs = performance.now() + PASSES_FOR_MS;
      if (!this.isTold)
        this.about.log.warn(
          { engine: this.about.name, code },
          `${message}. Its states pass this server, until the bucket can be reached from there`,
        );
      this.isTold = true;
      return true;
    }
    // This server can't reach the bucket either, so the engine's states wait here.
    return code === 'BUCKET_ADDRESS_REFUSED' || code === 'STATE_CORRUPT' || code?.startsWith('ARTIFACT_') === true;
  }

  private worked(): void {
    if (this.isTold)
      this.about.log.info({ engine: this.about.name }, 'the engine reaches the bucket again: its states no longer pass this server');
    this.isTold = false;
  }
}

function putRequest(digest: string, parts: readonly SignedPart[]): engineV1.PutStateRequest {
  return { digest, parts: parts.map((part) => ({ ...part, offset: BigInt(part.offset), bytes: BigInt(part.bytes) })) };
}

function slicesOf({ state, slices, stateBytes }: TrainedSegment): Slice[] {
  const told = slices.map(({ digest, bytes }) => ({ digest, bytes: Number(bytes) }));
  if (told.length > 0 && (digestOfSlices(told) !== state.digest || bytesOfSlices(told) !== Number(stateBytes)))
    throw new EspalierError('ENGINE_FAILED', `the engine told slices that do not make the state ${state.digest}`);
  return told;
}
