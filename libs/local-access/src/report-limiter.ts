// Limits reports of events that a caller can cause thousands of times a second. An event is reported the first time, and then at most once
// a second, with the number of times since the last report.
const INTERVAL_MS = 1_000;

export class ReportLimiter<What> {
  private readonly kinds = new Map<string, { last: What; times: number }>();

  /** @param say called with the last event and the number of events since the last report */
  constructor(private readonly say: (last: What, times: number) => void) {}

  /** @param kind the kind of the event; each kind is reported separately, so there must be few */
  add(kind: string, what: What): void {
    const held = this.kinds.get(kind);
    if (held !== undefined) {
      this.kinds.set(kind, { last: what, times: held.times + 1 });
      return;
    }
    this.say(what, 1);
    this.hold(kind, what);
  }

  private hold(kind: string, what: What): void {
    this.kinds.set(kind, { last: what, times: 0 });
    setTimeout(() => this.end(kind), INTERVAL_MS).unref();
  }

  private end(kind: string): void {
    const { last, times } = this.kinds.get(kind)!;
    this.kinds.delete(kind);
    if (times === 0) return;
    this.say(last, times);
    this.hold(kind, last);
  }
}
