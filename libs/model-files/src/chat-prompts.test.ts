// Tests prompts as a user's messages: a model's chat template makes them the text that the model was trained to answer, or an error says
// what is wrong.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chatPrompts } from './chat-prompts.js';
import { TextTokenizer } from './tokens/text-tokenizer.js';

const tinyModel = fileURLToPath(new URL('../../../../testdata/models/gqa-random-tiny', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-chat-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let models = 0;
function modelWith(template?: string): string {
  const path = join(folder, `model-${(models += 1)}`);
  cpSync(tinyModel, path, { recursive: true });
  if (template !== undefined) writeFileSync(join(path, 'chat_template.jinja'), template);
  return path;
}

/** The template of Qwen and SmolLM. */
const CHATML = `{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

test('each prompt is the only message of its conversation, and the text ends where the answer begins', async () => {
  const texts = await chatPrompts(modelWith(CHATML), ['Who?', 'Where\n{{ messages }}?']);
  expect(texts).toEqual([
    '<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n',
    '<|im_start|>user\nWhere\n{{ messages }}?<|im_end|>\n<|im_start|>assistant\n',
  ]);
});

test('a text of a template has its special tokens: none is added to it', async () => {
  const model = modelWith('{{ bos_token }}[INST] {{ messages[0].content }} [/INST]');
  const [text] = await chatPrompts(model, ['Who?']);
  expect(text).toBe('<s>[INST] Who? [/INST]');
  const tokenizer = await TextTokenizer.read(model);
  expect(tokenizer.encode(text!, true).filter((id) => id === 1)).toHaveLength(1);
  const without = '[INST] Who? [/INST]';
  expect(tokenizer.encode(without)[0]).toBe(1);
  expect(tokenizer.encode(without, true)).toEqual(tokenizer.encode(without).slice(1));
});

test('a model without a template is named', async () => {
  const model = modelWith();
  await expect(chatPrompts(model, ['Who?'])).rejects.toMatchObject({
    code: 'CHAT_TEMPLATE_NOT_FOUND',
    field: 'chat',
    message: expect.stringContaining(`the model in ${model} has no chat template`) as string,
  });
});

test.each([
  ['refuses it', "{{ raise_exception('no system, no talk') }}", 'no system, no talk'],
  ['is not Jinja', '{% for %}', "the model's chat template does not take it"],
  ['makes too much of it', `{% for i in range(1100) %}${'word '.repeat(200)}{% endfor %}`, 'characters'],
])('a template that %s is told with the prompt', async (_, template, message) => {
  await expect(chatPrompts(modelWith(template), ['Who?'])).rejects.toMatchObject({
    code: 'CHAT_TEMPLATE_INVALID',
    field: 'prompts[0]',
    message: expect.stringContaining(message) as string,
  });
});

test('a template that never ends is given up', async () => {
  const endless =
    '{% for i in range(100000) %}{% for j in range(100000) %}{% for k in range(100000) %}{% endfor %}{% endfor %}{% endfor %}';
  await expect(chatPrompts(modelWith(endless), ['Who?'], undefined, 2_000)).rejects.toMatchObject({
    code: 'CHAT_TEMPLATE_INVALID',
    field: 'chat',
  });
});
