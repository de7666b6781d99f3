// Brings states from an engine on another machine to the store and back. Where the store is a bucket, the engine reads and writes it by
// addresses that are signed for it, so that the bytes don't pass this process. Where the engine can't reach the bucket, they do.
import type { Logger } from 'pino';
import { MEDIA_TYPE_SAFETENSORS, type ArtifactAddresses, type ArtifactStore, type SignedWrite } from '#artifact-store';
import { EspalierError, toEspalierError, type engineV1 } from '#protocol';
import type { LiveEngine } from '../engines/engine-supervisor.js';
import type { StateUnderWay } from '../engines/wire/training-progress.js';

/** An address may expire before its turn: with fresh ones, only the parts that are missing are written. */
const TRIES = 3;
/** After this time an engine that could not reach the bucket tries it again. */
const PASSES_FOR_MS = 600_000;

export class StateCarrier {
  private unreachableUntilMs = 0;
  private isTold = false;

  constructor(
    private readonly engine: Pick<LiveEngine, 'client' | 'sharesFiles'>,
    private readonly artifacts: Pick<ArtifactStore, 'open' | 'addresses'>,
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

  /** Gives the engine an artifact: its address first, and its bytes where the engine can't read it there. */
  async give<T>(digest: string, take: (from: AsyncIterable<Uint8Array> | string) => Promise<T>): Promise<T> {
    const { addresses } = this;
    if (addresses === undefined) return take(this.artifacts.open(digest));
    try {
      const taken = await take(await addresses.toRead(digest));
      this.worked();
      return taken;
    } catch (error) {
      if (!this.isOfTheWay(error)) throw error;
      return take(this.artifacts.open(digest)); // this fails with the right error where the artifact is damaged or gone
    }
  }

  /**
   * Fetches a state that the engine holds. Returns when the state is in the store or in this process, and the engine was told to release
   * it.
   */
  underWay(outcome: engineV1.SegmentOutcome): StateUnderWay {
    const arrival = this.arrivalOf(outcome).catch((error: unknown) => {
      const known = toEspalierError(error);
      throw known.code === 'STATE_NOT_HELD' ? new EspalierError('ENGINE_LOST', known.message, { cause: error }) : known;
    });
    arrival.catch(() => undefined); // its reader gets the error
    return { arrival };
  }

  private async arrivalOf(outcome: engineV1.SegmentOutcome): Promise<Uint8Array | 'stored'> {
    const { digest } = outcome.state!;
    try {
      return (await this.isWritten(digest, outcome)) ? 'stored' : await this.engine.client.heldState(digest);
    } finally {
      void this.engine.client.releaseState(digest).catch(() => undefined); // an engine that is lost holds nothing for us
    }
  }

  private async isWritten(digest: string, { stateBytes, partSums }: engineV1.SegmentOutcome): Promise<boolean> {
    const bytes = Number(stateBytes);
    for (let tries = 1; ; tries += 1) {
      const { addresses } = this;
      if (addresses === undefined) return false;
      if (partSums.length !== Math.ceil(bytes / addresses.partBytes))
        throw new EspalierError('ENGINE_FAILED', `the engine told ${partSums.length} sums of parts of a state of ${bytes} bytes`);
      try {
        const write = await addresses.toWrite({ digest, bytes, partSums, mediaType: MEDIA_TYPE_SAFETENSORS });
        if (write !== null) await write.complete(await this.engine.client.putState(putRequest(digest, write)));
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

function putRequest(digest: string, { parts }: SignedWrite): engineV1.PutStateRequest {
  return { digest, parts: parts.map((part) => ({ ...part, offset: BigInt(part.offset), bytes: BigInt(part.bytes) })) };
}
