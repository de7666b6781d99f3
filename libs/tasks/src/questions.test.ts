// Tests the built-in tasks' prompts, word for word, and the errors for users whose data or file does not fit.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { builtInTasks, findTasks } from './find-tasks.js';
import { readQuestions, type Question, type TaskQuestions } from './questions.js';
import { TaskError } from './task-error.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-tasks-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function put(name: string, ...rows: object[]): Promise<void> {
  await mkdir(join(folder, name, '..'), { recursive: true });
  await writeFile(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

async function ask(name: string, limit?: number): Promise<TaskQuestions> {
  const { scored } = await findTasks([name]);
  return readQuestions(scored[0]!, { dataFolder: folder, limit });
}

/** Returns the context and the continuation of each choice, before they are joined. */
const pairsOf = ({ asks }: Question): string[][] =>
  asks.kind === 'pairs' ? asks.pairs.map(({ context, continuation }) => [context, continuation]) : [];

async function refusal(work: Promise<unknown>): Promise<TaskError> {
  return work.then(
    () => Promise.reject(new Error('it was accepted')),
    (error: unknown) => {
      if (error instanceof TaskError) return error;
      throw error;
    },
  );
}

test('boolq', async () => {
  await put('boolq/validation.jsonl', { passage: 'Iron rusts.', question: 'does iron rust', label: 1 });
  const { questions } = await ask('boolq');
  const context = 'Iron rusts.\nQuestion: does iron rust?\nAnswer:';
  expect(pairsOf(questions[0]!)).toEqual([
    [context, ' no'],
    [context, ' yes'],
  ]);
  expect(questions[0]).toMatchObject({ gold: 1, lengths: [2, 3] });
});

test('piqa', async () => {
  await put('piqa/validation.jsonl', { goal: 'Cool soup', sol1: 'Blow on it.', sol2: 'Heat it up.', label: 0 });
  const { questions } = await ask('piqa');
  expect(pairsOf(questions[0]!)).toEqual([
    ['Question: Cool soup\nAnswer:', ' Blow on it.'],
    ['Question: Cool soup\nAnswer:', ' Heat it up.'],
  ]);
  expect(questions[0]).toMatchObject({ gold: 0, lengths: [11, 11] });
});

test.each([
  ['ǆUNGLA', 'ǅungla'],
  ['ßA', 'Ssa'],
  ['ﬁSH', 'Fish'],
  ['ᾳΣ', 'ᾼς'],
  ['ŉA', 'ʼNa'],
  ['ბA', 'ბa'],
  ['𐐨𐐀', '𐐀𐐨'],
  ['', ''],
])('hellaswag: %j begins with a capital as in Python, %j', async (second, capitalised) => {
  const row = { activity_label: 'A', ctx_a: 'b', ctx_b: second, endings: ['c', 'd'], label: '0' };
  await put('hellaswag/validation.jsonl', row);
  const { questions } = await ask('hellaswag');
  expect(pairsOf(questions[0]!)[0]![0]).toBe(`A: b ${capitalised}`.trim());
});

test('hellaswag: tags go, double spaces once, and the second half is capitalised with its other letters small', async () => {
  await put('hellaswag/validation.jsonl', {
    activity_label: 'Baking',
    ctx_a: 'A cook [step] takes flour. [title] Mix.',
    ctx_b: 'the Cook',
    endings: ['pours [substeps] milk.', ' sings  a   song. '],
    label: '1',
  });
  const { questions } = await ask('hellaswag');
  const context = 'Baking: A cook takes flour.. Mix. The cook';
  expect(pairsOf(questions[0]!)).toEqual([
    [context, ' pours milk.'],
    [context, ' sings a  song.'],
  ]);
  expect(questions[0]).toMatchObject({ gold: 1, lengths: [11, 14] });
});

test('winogrande: the option belongs to the context, and what follows the blank is scored', async () => {
  await put('winogrande_xl/validation.jsonl', {
    sentence: 'Ann thanked Bea because _ had helped.',
    option1: 'Ann',
    option2: 'Bea',
    answer: '2',
  });
  const { questions } = await ask('winogrande');
  expect(pairsOf(questions[0]!)).toEqual([
    ['Ann thanked Bea because Ann', ' had helped.'],
    ['Ann thanked Bea because Bea', ' had helped.'],
  ]);
  expect(questions[0]!.gold).toBe(1);
});

test.each(['arc_easy', 'arc_challenge'])('%s: the answer is found by its label', async (name) => {
  const choices = { text: ['ice', 'steam'], label: ['1', '2'] };
  await put(`${name}/test.jsonl`, { id: 'x', question: 'What is hot?', choices, answerKey: '2' });
  const { questions } = await ask(name);
  expect(pairsOf(questions[0]!)).toEqual([
    ['Question: What is hot?\nAnswer:', ' ice'],
    ['Question: What is hot?\nAnswer:', ' steam'],
  ]);
  expect(questions[0]).toMatchObject({ gold: 1, lengths: [3, 5] });
});

test('openbookqa asks with nothing around the question', async () => {
  const choices = { text: ['fur', 'fins'], label: ['A', 'B'] };
  await put('openbookqa/test.jsonl', { question_stem: 'Fish have', choices, answerKey: 'B' });
  const { questions } = await ask('openbookqa');
  expect(pairsOf(questions[0]!)).toEqual([
    ['Fish have', ' fur'],
    ['Fish have', ' fins'],
  ]);
});

test('mmlu: the first five of the subject in dev, answered, then the question', async () => {
  const row = (subject: string, number: number): object => ({
    question: ` Q${number} `,
    subject,
    choices: ['w', 'x', 'y', 'z'],
    answer: number % 4,
  });
  const dev = [0, 1, 2, 3, 4, 5].flatMap((number) => [row('other', number + 10), row('high_school_physics', number)]);
  await put('mmlu/dev.jsonl', ...dev);
  await put('mmlu/test.jsonl', row('high_school_physics', 7));
  const { questions } = await ask('mmlu');
  const asked = (number: number): string => `Q${number}\nA. w\nB. x\nC. y\nD. z\nAnswer:`;
  const shots = [0, 1, 2, 3, 4].map((number) => `${asked(number)} ${'ABCD'[number % 4]}\n\n`).join('');
  const context = `The following are multiple choice questions (with answers) about high school physics.\n\n${shots}${asked(7)}`;
  expect(pairsOf(questions[0]!)).toEqual([' A', ' B', ' C', ' D'].map((choice) => [context, choice]));
  expect(questions[0]).toMatchObject({ gold: 3, group: 'high_school_physics' });
});

test('lambada: the last word by spaces, whatever line breaks it holds', async () => {
  await put('lambada_openai/test.jsonl', { text: 'He gave\n\nit to the dog' }, { text: 'north of\n\nPower' });
  const { questions } = await ask('lambada');
  expect(questions.flatMap(pairsOf)).toEqual([
    ['He gave\n\nit to the', ' dog'],
    ['north', ' of\n\nPower'],
  ]);
});

test('wikitext: put together again for the model, counted as it was', async () => {
  const page = ' = A Title = \n \n The 2 @,@ 000 men ( and women ) said " yes " , it \'s 3 @.@ 5 ° here : N ; good ! \n';
  await put('wikitext_document_level/test.jsonl', { page });
  const { questions } = await ask('wikitext');
  expect(questions[0]!.asks).toEqual({
    kind: 'whole',
    text: ' = A Title =\n\nThe 2,000 men (and women) said "yes", it\'s 3.5°here: N; good!\n',
  });
  // The empty strings at both ends count as words.
  expect(questions[0]).toMatchObject({ words: page.split(/\s+/).length, bytes: Buffer.byteLength(page) });
});

test('the mean of seven tasks asks its seven, each once', async () => {
  const { scored, means } = await findTasks(['piqa', 'seven']);
  expect(scored.map(({ task }) => task).sort()).toEqual(
    ['arc_challenge', 'arc_easy', 'boolq', 'hellaswag', 'openbookqa', 'piqa', 'winogrande'].sort(),
  );
  expect(means[0]!.means.map(({ convention }) => convention)).toEqual([
    'arc_easy by acc, the rest by acc_norm where it exists',
    'acc_norm where it exists',
  ]);
});

test("a user's own task is a file, without code", async () => {
  const path = join(folder, 'capitals.yaml');
  await writeFile(
    path,
    'task: capitals\ndata: { folder: geo, split: test }\n' +
      'prompt: "{% for hint in hints %}{{hint}}; {% endfor %}The capital of {{country}} is\\n"\n' +
      'choices: ["{{a}}", "{{b}}"]\ngold: right\nlabels: [a, b]\nmetrics: [acc]\n',
  );
  await put('geo/test.jsonl', { country: 'France', hints: ['north'], a: 'Paris', b: 'Rome', right: 'a' });
  const { scored } = await findTasks([path]);
  const { questions } = await readQuestions(scored[0]!, { dataFolder: folder });
  expect(pairsOf(questions[0]!)[0]).toEqual(['north; The capital of France is\n', ' Paris']);
  expect(questions[0]!.gold).toBe(0);
});

test('Parquet has the same rows, and so the same digest, by the names of published data sets', async () => {
  await put('piqa/validation.jsonl', { goal: 'Cool soup', sol1: 'Blow', sol2: 'Heat', label: 1 });
  const lines = await ask('piqa');
  await rm(join(folder, 'piqa'), { recursive: true });
  await mkdir(join(folder, 'piqa/plain_text'), { recursive: true });
  const columnData = [
    { name: 'idx', data: [7n], type: 'INT64' as const },
    { name: 'goal', data: ['Cool soup'] },
    { name: 'sol1', data: ['Blow'] },
    { name: 'sol2', data: ['Heat'] },
    { name: 'label', data: [1n], type: 'INT64' as const },
  ];
  await writeFile(join(folder, 'piqa/plain_text/validation-00000-of-00001.parquet'), Buffer.from(parquetWriteBuffer({ columnData })));
  const parquet = await ask('piqa');
  expect(parquet.questions.map(pairsOf)).toEqual(lines.questions.map(pairsOf));
  expect(parquet.questions[0]!.gold).toBe(1);
  expect(parquet.dataDigest).toBe(lines.dataDigest);
  expect(parquet.promptDigest).toBe(lines.promptDigest);
});

describe('what does not fit is named', () => {
  test('a task that there is not', async () => {
    const error = await refusal(findTasks(['boolk']));
    expect(error).toMatchObject({ code: 'TASK_NOT_FOUND', field: 'tasks' });
    for (const name of await builtInTasks()) expect(error.message).toContain(name);
  });

  test('a folder that is missing, and a split', async () => {
    expect(await refusal(ask('piqa'))).toMatchObject({
      code: 'TASK_DATA_NOT_FOUND',
      message: expect.stringContaining(join(folder, 'piqa')),
    });
    await put('piqa/train.jsonl', { goal: 'x' });
    const error = await refusal(ask('piqa'));
    expect(error).toMatchObject({ code: 'TASK_DATA_NOT_FOUND', field: 'task_data_path' });
    expect(error.message).toMatch(/validation\.jsonl.*only train\.jsonl/);
  });

  test('columns, with the line and those that there are', async () => {
    const whole = { goal: 'a', sol1: 'b', sol2: 'c', label: 0 };
    await put('piqa/validation.jsonl', whole, { goal: 'a', solution1: 'b', sol2: 'c', label: 0 });
    const error = await refusal(ask('piqa'));
    expect(error.code).toBe('TASK_DATA_INVALID');
    expect(error.message).toMatch(/piqa: .*validation\.jsonl, line 2: the column sol1 .*there are: goal, solution1, sol2, label/);
  });

  test('an answer that is not among the choices', async () => {
    await put('piqa/validation.jsonl', { goal: 'a', sol1: 'b', sol2: 'c', label: 2 });
    expect((await refusal(ask('piqa'))).message).toMatch(/line 1: label is 2; a number from 0 to 1 is allowed/);
  });

  test('too few examples of a subject', async () => {
    const row = { question: 'Q', subject: 'law', choices: ['a', 'b', 'c', 'd'], answer: 0 };
    await put('mmlu/dev.jsonl', row, row);
    await put('mmlu/test.jsonl', row);
    expect((await refusal(ask('mmlu'))).message).toMatch(/the split dev has 2 rows of subject law; 5 shots are needed/);
  });

  test('a file that is not a task', async () => {
    const path = join(folder, 'mine.yaml');
    const told = async (text: string): Promise<string> => {
      await writeFile(path, text);
      return (await refusal(findTasks([path]))).message;
    };
    expect(await told('task: mine\nprompt: "x"')).toMatch(/mine\.yaml: data: /);
    const beside = 'task: mine\ndata: { folder: "..", split: test }\nprompt: x\nchoices: [a, b]\ngold: g\nmetrics: [acc]';
    expect(await told(beside)).toMatch(/data\.folder: must be the name of a folder in --task-data/);
    expect(await told('- a list')).toMatch(/a task is a mapping/);
    expect(await told('task: [')).toMatch(/no valid YAML/);
    expect(await told('kind: guess')).toMatch(/kind is "guess"; one of choices, contexts, continuation, rolling, generation, mean/);
    expect(await told('task: mine\ndata: { folder: x, split: test }\nprompt: x\nchoices: [a, b]\ngold: g\nmetrics: [f1]')).toMatch(
      /metrics\.0/,
    );
    expect(await told('task: mine\ndata: { folder: x, split: test }\npromt: x\nchoices: [a, b]\ngold: g\nmetrics: [acc]')).toMatch(/promt/);
  });

  test('a template that can not be parsed', async () => {
    const path = join(folder, 'mine.yaml');
    await writeFile(path, 'task: mine\ndata: { folder: geo, split: test }\nprompt: "{{ open"\nchoices: [a, b]\ngold: g\nmetrics: [acc]\n');
    const { scored } = await findTasks([path]);
    expect((await refusal(readQuestions(scored[0]!, { dataFolder: folder }))).message).toMatch(/mine\.prompt: .* is not a valid template/);
  });
});

test('a limit asks the first ones, and the data stay the same', async () => {
  const row = (number: number): object => ({ goal: `g${number}`, sol1: 'b', sol2: 'c', label: 0 });
  await put('piqa/validation.jsonl', row(1), row(2), row(3));
  const [all, some] = [await ask('piqa'), await ask('piqa', 2)];
  expect(some.questions).toEqual(all.questions.slice(0, 2));
  expect(some).toMatchObject({ rowCount: 3, dataDigest: all.dataDigest });
});

test('a limit counts within each subject of mmlu, and of each folder of bbh', async () => {
  const row = (subject: string, number: number): object => ({
    question: `${subject} ${number}`,
    subject,
    choices: ['w', 'x', 'y', 'z'],
    answer: 0,
  });
  const rows = [1, 2, 3].flatMap((number) => ['law', 'physics'].map((subject) => row(subject, number)));
  await put('mmlu/dev.jsonl', ...[0, 1, 2, 3, 4].flatMap((number) => [row('law', number), row('physics', number)]));
  await put('mmlu/test.jsonl', ...rows, row('physics', 4));
  const { questions, ...rest } = await ask('mmlu', 2);
  expect(questions.map(({ group, index }) => [group, index])).toEqual([
    ['law', 0],
    ['physics', 1],
    ['law', 2],
    ['physics', 3],
  ]);
  expect(rest).toMatchObject({ rowCount: 7, limitOfGroup: 2 });
  expect(await ask('mmlu', 4)).toMatchObject({ rowCount: 7, limitOfGroup: null }); // there are no further rows
  const words = (number: number): object => ({ input: `in ${number}`, target: 'Yes' });
  await mkdir(join(folder, 'bbh/cot-prompts'), { recursive: true });
  const worked = "Q: in\nA: Let's think step by step.\nIt is clear. So the answer is Yes.";
  for (const name of ['navigate', 'web_of_lies']) {
    await put(`bbh/${name}/test.jsonl`, words(1), words(2), words(3));
    await writeFile(join(folder, `bbh/cot-prompts/${name}.txt`), `BENCHMARK DATA SHOULD NEVER APPEAR\n-----\nTell.\n\n${worked}`);
  }
  expect((await ask('bbh', 1)).questions.map(({ group }) => group)).toEqual(['navigate', 'web_of_lies']);
});

describe('bbh', () => {
  const worked = (input: string, answer: string): string =>
    `Q: ${input}\nA: Let's think step by step.\nBoth are so.\n\nIt is clear. So the answer is ${answer}.`;
  const shots = `Evaluate it.\n\n${worked('True is', 'True')}\n\n${worked('not True is', 'False')}`;
  const official = `BENCHMARK DATA SHOULD NEVER APPEAR\n-----\n${shots}`;
  const put2 = async (): Promise<void> => {
    await put('bbh/boolean_expressions/test.jsonl', { input: 'not False is', target: 'True' });
    await put('bbh/web_of_lies/test.jsonl', { input: 'Does Ann lie?', target: 'No' });
    await mkdir(join(folder, 'bbh/cot-prompts'), { recursive: true });
    for (const name of ['boolean_expressions', 'web_of_lies']) await writeFile(join(folder, `bbh/cot-prompts/${name}.txt`), official);
  };

  test('with a chain of thought: the official shots, a group a folder', async () => {
    await put2();
    const { questions } = await ask('bbh');
    const prompt = `${shots}\n\nQ: not False is\nA: Let's think step by step.\n`;
    expect(questions.map(({ group, asks }) => [group, asks])).toEqual([
      ['boolean_expressions', { kind: 'text', prompt, answer: 'True' }],
      ['web_of_lies', expect.objectContaining({ answer: 'No' })],
    ]);
  });

  test('answered at once: the same shots without their reasoning', async () => {
    await put2();
    const { questions } = await ask('bbh_direct');
    const prompt = 'Evaluate it.\n\nQ: True is\nA: True\n\nQ: not True is\nA: False\n\nQ: not False is\nA:';
    expect(questions[0]!.asks).toEqual({ kind: 'text', prompt, answer: 'True' });
  });

  test('a change of the official prompts changes the data, a missing one is named', async () => {
    await put2();
    const before = (await ask('bbh')).dataDigest;
    await writeFile(join(folder, 'bbh/cot-prompts/web_of_lies.txt'), 'Other.');
    expect((await ask('bbh')).dataDigest).not.toBe(before);
    await rm(join(folder, 'bbh/cot-prompts/web_of_lies.txt'));
    const error = await refusal(ask('bbh'));
    expect(error.code).toBe('TASK_DATA_NOT_FOUND');
    expect(error.message).toContain('web_of_lies');
  });
});
