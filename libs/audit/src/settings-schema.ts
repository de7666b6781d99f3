// The schemas of a run's settings, made from the table of settings, and of its budget.
import { z } from 'zod';
import { BUDGET_NAMES } from '#comparison';
import { settingsTable, type Setting, type SettingValues } from '#protocol';

export const count = z.number().int().nonnegative();
const ratio = z.number().min(0).max(1);
export const text = z.string();

/** The schema of a setting, from its entry in the table. */
function settingSchema({ kind, share, allowed }: Setting): z.ZodType {
  return {
    number: share ? ratio : z.number(),
    whole: count,
    bits: z.string().regex(/^\d{1,20}$/),
    flag: z.boolean(),
    text,
    word: z.enum(allowed as string[]),
    words: z.array(text),
  }[kind];
}
export const settingShapes = Object.fromEntries(settingsTable().map((setting) => [setting.name, settingSchema(setting)]));
export const settingName = z.enum(settingsTable().map(({ name }) => name));
export const settings = z.strictObject(settingShapes) as unknown as z.ZodType<SettingValues>;

/** A target in another unit than sparsity. Together with the settings it holds everything that the engine gets to know about the target. */
export const budget = z.strictObject({
  setting: z.enum(BUDGET_NAMES),
  intact: z.number(), // the cost of the intact model, in the budget's unit
  least: z.number(), // the least cost that the run can reach, since it can't close everything
  kvHeads: count, // in one layer
  cacheBytes: count, // the bytes of a key/value head's cache; 0 where the budget counts no cache
  cost: z.array(z.number()), // the cost as the numbers that the engine reads; method/model-cost.ts of the orchestrator makes them
  /** For a target in seconds, the table of speeds that the run uses and the pass that was measured for it. */
  speed: z.exactOptional(
    z.strictObject({
      tableDigest: text,
      device: text,
      dtype: text,
      phase: z.enum(['prefill', 'decode']),
      batch: count,
      context: count,
    }),
  ),
});
export type Budget = z.infer<typeof budget>;
