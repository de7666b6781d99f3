// The lease of this engine. It belongs to one orchestrator at a time, until that orchestrator's lease runs out. The clock that measures the
// lease can't be set.
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { engineV1, EspalierError, toServiceError, invalidField } from '#protocol';

const CLAIM_METADATA = 'espalier-claim';
const LEASE_MS_MAX = 3_600_000;
/** A client that is busy for a moment is not cut off. */
const SILENCE_MS_MIN = 5_000;
/** These methods change nothing, so every caller that reaches the engine may call them. */
const FREE_METHODS = new Set(
  ['DescribeEngine', 'ClaimEngine', 'ReleaseEngine', 'InspectModel', 'PlanMemory', 'OfferModel'].map(
    (name) => `/espalier.engine.v1.EngineService/${name}`,
  ),
);

interface Holding {
  holder: engineV1.Holder;
  leaseMs: number;
  renewedAtMs: number;
}

export class EngineLease {
  private holding: Holding | null = null;

  /** @param nowMs a clock that only goes on */
  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /** Takes or renews. True: another holder had the engine before. @throws EspalierError ENGINE_ATTACHED_ELSEWHERE */
  claim({ holder, leaseMs, afterFormerLife }: engineV1.ClaimEngineRequest): boolean {
    if (holder === undefined || holder.claim === '') throw invalidField('FIELD_REQUIRED', 'holder.claim', 'is empty');
    if (leaseMs < 1 || leaseMs > LEASE_MS_MAX)
      throw invalidField('FIELD_OUT_OF_RANGE', 'lease_ms', `is ${leaseMs}; from 1 to ${LEASE_MS_MAX} are allowed`);
    const before = this.holding;
    const isSame = before?.holder.claim === holder.claim;
    const isFormerLife = afterFormerLife && before !== null && holder.folderId !== '' && before.holder.folderId === holder.folderId;
    if (before !== null && !isSame && !isFormerLife && this.leftMs > 0) throw this.elsewhere();
    this.holding = { holder, leaseMs, renewedAtMs: this.nowMs() };
    return before !== null && !isSame;
  }

  /** Returns whether the engine was held by this holder, and so is free now. */
  release(claim: string): boolean {
    if (this.holding?.holder.claim !== claim) return false;
    this.holding = null;
    return true;
  }

  /** @throws EspalierError ENGINE_ATTACHED_ELSEWHERE where the caller shows another claim than the holder's, or none */
  require(claim: string): void {
    if (claim === (this.holding?.holder.claim ?? '')) return;
    if (claim === '' && this.leftMs === 0) return;
    throw this.elsewhere();
  }

  /** The holder, without its secret claim. */
  get holder(): engineV1.Holder | undefined {
    return this.holding === null ? undefined : { ...this.holding.holder, claim: '' };
  }

  /** The rest of the lease; 0: no lease holds. */
  get leftMs(): number {
    return this.holding === null ? 0 : Math.max(0, Math.ceil(this.holding.renewedAtMs + this.holding.leaseMs - this.nowMs()));
  }

  /**
   * Milliseconds of silence that show that the way to the client is cut, since it renews its lease three times in the lease's length. Null
   * where no lease holds.
   */
  get silenceMs(): number | null {
    return this.holding === null || this.leftMs === 0 ? null : Math.max(SILENCE_MS_MIN, (this.holding.leaseMs * 2) / 3);
  }

  private elsewhere(): EspalierError {
    if (this.holding === null)
      return new EspalierError('ENGINE_ATTACHED_ELSEWHERE', 'the claim on this engine no longer holds: claim it again');
    const { host, pid, slot } = this.holding.holder;
    const left = Math.ceil(this.leftMs / 1_000);
    return new EspalierError(
      'ENGINE_ATTACHED_ELSEWHERE',
      `the engine belongs to the orchestrator in process ${pid} on ${host} (as ${slot}), for ${left} s more unless that renews its lease`,
      { metadata: { host, pid: String(pid), left_ms: String(this.leftMs) } },
    );
  }
}

/** Refuses calls that touch the session and don't show the holder's claim, before their message is read. */
export function claimCheck(lease: EngineLease): ServerInterceptor {
  return ({ path }, call) => {
    if (FREE_METHODS.has(path) || path.startsWith('/grpc.health.')) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            try {
              lease.require(String(metadata.get(CLAIM_METADATA)[0] ?? ''));
            } catch (error) {
              return call.sendStatus(toServiceError(error));
            }
            pass(metadata);
          },
        }),
    });
  };
}
