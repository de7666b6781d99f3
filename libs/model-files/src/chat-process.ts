// The entry of a process in which a chat template writes prompts. Each prompt is the only message of its conversation.
import { chatWriter } from './chat-template.js';
import type { ChatAnswer, ChatTask } from './chat-prompts.js';
import { readingProcess } from './reading-process.js';

/** The longest text. It is far above what a template adds to a prompt, and below what a message to the other process may hold. */
const TEXT_CHARACTERS_MAX = 1 << 20;
const PROBLEM_CHARACTERS_MAX = 500;

void readingProcess<ChatAnswer>(async (given, reader) => {
  const { template, prompts } = given as ChatTask;
  const texts: string[] = [];
  try {
    const write = chatWriter(template);
    for (const content of prompts) {
      const text = write([{ role: 'user', content }]);
      if (text.length > TEXT_CHARACTERS_MAX) throw new Error(`it turns the prompt into a text of ${text.length} characters`);
      texts.push(text);
    }
    reader.send({ texts });
  } catch (error) {
    reader.send({ prompt: texts.length, problem: (error as Error).message.slice(0, PROBLEM_CHARACTERS_MAX) });
  }
  await Promise.resolve();
});
