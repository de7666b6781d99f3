// Reads the table of settings from the protocol's files (proto/espalier/v1/setting.proto): one entry for each field of RunSettings. Code
// that needs all settings goes through this table, so that a new setting only needs a new field there and the code that uses it.
import { fromBinary } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  type FieldDescriptorProto,
  type FileDescriptorProto,
} from '@bufbuild/protobuf/wkt';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { fileDescriptors } from '../descriptors.js';
import { Setting as SettingOption } from '../generated/espalier/v1/setting.js';
import type { RunSettings } from '../v1.js';

export type SettingName = keyof RunSettings;

/** number: any number; whole: below 2^32; bits: a whole number of 64 bits; word: a value of an enum; words: a list. */
export type SettingKind = 'number' | 'whole' | 'bits' | 'flag' | 'text' | 'word' | 'words';

export interface Setting extends Omit<SettingOption, 'allowed' | 'flag'> {
  /** The name in TypeScript and in events: totalSteps. */
  name: SettingName;
  /** The name in the protocol: total_steps. */
  field: string;
  /** The number of its field in the protocol. */
  number: number;
  kind: SettingKind;
  /**
   * The words that a value, or an item of a list, may be; empty: any. The words of an enum are in the order of its numbers, without
   * UNSPECIFIED.
   */
  allowed: readonly string[];
  /** The number of each word in the enum. */
  numbers: ReadonlyMap<string, number>;
  /** The option of the command line: --steps. */
  flag: string;
}

const SETTING_OPTION = 50501; // see setting.proto
let table: readonly Setting[] | undefined;

/** Returns the table, which is made at the first call. */
export function settingsTable(): readonly Setting[] {
  if (table !== undefined) return table;
  const file = fromBinary(FileDescriptorProtoSchema, known(fileDescriptors().get('espalier/v1/common.proto')));
  const message = known(file.messageType.find(({ name }) => name === 'RunSettings'));
  table = message.field.map((field) => settingOf(file, field));
  return table;
}

export const settingOfName = (name: SettingName): Setting => known(settingsTable().find((one) => one.name === name));

/** @param field the name of a setting's field, such as one that another setting names */
export const settingOfField = (field: string): Setting => known(findSetting(field));

export function findSetting(field: string): Setting | undefined {
  return settingsTable().find((one) => one.field === field);
}

function known<T>(found: T | undefined): T {
  if (found === undefined) throw new TypeError('common.proto does not describe this setting');
  return found;
}

function settingOf(file: FileDescriptorProto, field: FieldDescriptorProto): Setting {
  const option = field.options?.$unknown?.find(({ no }) => no === SETTING_OPTION);
  if (option === undefined) throw new TypeError(`RunSettings.${field.name} does not say what it is: it has no option (setting)`);
  const { flag, allowed, ...about } = SettingOption.decode(new BinaryReader(option.data).bytes());
  const kind = kindOf(field);
  const numbers = kind === 'word' ? wordsOf(file, field.typeName) : new Map<string, number>();
  return {
    ...about,
    name: field.jsonName as SettingName,
    field: field.name,
    number: field.number,
    kind,
    allowed: kind === 'word' ? [...numbers.keys()] : allowed,
    numbers,
    flag: flag || `--${field.name.replaceAll('_', '-')}`,
  };
}

function kindOf({ type, label, name }: FieldDescriptorProto): SettingKind {
  const list = label === FieldDescriptorProto_Label.REPEATED;
  switch (type) {
    case FieldDescriptorProto_Type.DOUBLE:
      return 'number';
    case FieldDescriptorProto_Type.UINT32:
      return 'whole';
    case FieldDescriptorProto_Type.UINT64:
      return 'bits';
    case FieldDescriptorProto_Type.BOOL:
      return 'flag';
    case FieldDescriptorProto_Type.ENUM:
      return 'word';
    case FieldDescriptorProto_Type.STRING:
      return list ? 'words' : 'text';
    default:
      throw new TypeError(`RunSettings.${name} has a type that no setting has`);
  }
}

/** Returns the words of an enum, without the prefix that all its values share: RECIPE_NUTEPRUNE is nuteprune. */
function wordsOf(file: FileDescriptorProto, typeName: string): Map<string, number> {
  const { value: values } = known(file.enumType.find(({ name }) => typeName === `.${file.package}.${name}`));
  const [unspecified, ...others] = values;
  const prefix = known(unspecified).name.slice(0, -'UNSPECIFIED'.length);
  return new Map(others.map(({ name, number }) => [name.slice(prefix.length).toLowerCase(), number]));
}
