// Times that come from outside as numbers. A number may be none, or so far away that no date stands for it, and then Date throws where its
// text is asked for.

/** The last moment of the year 9999, beyond which times have no usual text, and protocol buffers have no timestamp. */
const LAST_TIME_MS = 253_402_300_799_999;

/** Tells whether a number of milliseconds since 1970 stands for a time. */
export const isTime = (ms: number): boolean => ms >= 0 && ms <= LAST_TIME_MS;

/** Returns the time of a number from outside, or undefined where it stands for none. */
export const timeAt = (ms: number): Date | undefined => (isTime(ms) ? new Date(ms) : undefined);
