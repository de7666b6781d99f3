// Remembers what a user typed for an option, so that an error can repeat it: 140%, and not the 1.4 that was sent.
import type { Command, Option } from 'commander';

/** The text that was typed for an option, and the value that it was read as. */
const typed = new WeakMap<Option, { text: string; value: unknown }>();

/** Lets the option read its text by `parse`. */
export function typedOption(option: Option, parse: (text: string) => unknown): Option {
  return option.argParser((text) => {
    const value = parse(text);
    typed.set(option, { text, value });
    return value;
  });
}

/** Replaces the refused value of an option by the words that the user typed for it. */
export function asTyped(refusal: string, command: Command, flag: string): string {
  const option = command.options.find(({ long }) => long === flag);
  const given = option === undefined ? undefined : typed.get(option);
  if (typeof given?.value !== 'number') return refusal;
  const { value, text } = given;
  const literally = (words: string): string => words.replaceAll(/[^\w]/g, '\\$&');
  const echo = new RegExp(`\\bis ${literally(String(value))}(?![\\d.])(?: \\(${literally(text)}\\))?`);
  return refusal.replace(echo, () => `is ${text}`);
}
