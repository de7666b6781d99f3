// The schemas of a run's settings, made from the table of settings, and of its budget.
import { z } from 'zod';
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

export const budget = z.strictObject({
  setting: z.enum(['targetParams', 'targetBytes', 'targetMacs', 'targetSpeedup']),
  intact: z.number(),
  least: z.number(),
  kvHeads: count,
  cacheBytes: count,
  cost: z.array(z.number()),
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
