// A token of a corpus is a word of 32 bits: its id, and in the highest bit whether it is only context. A model reads context but never
// learns to predict it. Text that is learned as a whole has no such bits.

export const CONTEXT_TOKEN = 0x8000_0000;

export const isContext = (word: number): boolean => word >= CONTEXT_TOKEN;
export const idOf = (word: number): number => (word & ~CONTEXT_TOKEN) >>> 0;
