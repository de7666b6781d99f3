/** The largest size of the journal of a file of views. It never gets smaller, so plans of the disk count it. */
export const VIEWS_JOURNAL_BYTES = 4 << 20;
