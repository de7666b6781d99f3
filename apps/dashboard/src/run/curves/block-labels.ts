// Chooses which of the blocks on a line of time have a label, as an axis names only some of its places.

export interface BlockLabel {
  /** Where it begins, in percent of the line. */
  at: number;
  words: string;
}

/** The width of a letter, and the room around a label, in pixels. */
const [LETTER, ROOM] = [7, 10];

/**
 * Returns the labels that stand clear of one another and within the line. A label may reach over blocks behind its own.
 * @param width the width of the line in pixels
 */
export function labelsThatFit<Label extends BlockLabel>(labels: readonly Label[], width: number): Label[] {
  const shown: Label[] = [];
  let end = 0;
  for (const label of labels) {
    const left = (label.at * width) / 100;
    const right = left + label.words.length * LETTER + ROOM;
    if (left < end || right > width) continue;
    shown.push(label);
    end = right;
  }
  return shown;
}
