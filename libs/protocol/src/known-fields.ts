// The fields of requests that an engine knows (docs/design/engines.md). A receiver drops the fields that it does not know. So an engine of
// an earlier release would train without a new setting, though the run's record names it. An engine therefore tells what it was built with,
// and the server sends it no request with anything else.
import type { DescEnum, DescField, DescMessage } from '@bufbuild/protobuf';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';
import { fileRegistry } from './descriptors.js';
import { EspalierError } from './espalier-error.js';
import { valueOf, type Message } from './field-values.js';
import type { KnownNumbers } from './generated/espalier/engine/v1/engine_service.js';
import { requestedValues, valueOfText, type RequestedValues } from './settings/setting-values.js';
import { settingOfField, type Setting } from './settings/settings-table.js';

const SERVICE = 'espalier.engine.v1.EngineService';
const SETTINGS = 'espalier.v1.RunSettings';

/**
 * An engine that tells nothing is taken to know this: the highest number of each message and enum in the last release whose engines told
 * nothing. The list stays as it is.
 */
const TOLD_BY_NONE: Readonly<Record<string, number>> = {
  'espalier.v1.ComputeDtype': 2,
  'espalier.v1.GradientSum': 2,
  'espalier.v1.MaskRounding': 2,
  'espalier.v1.RateShape': 2,
  'espalier.v1.Recipe': 6,
  'espalier.v1.RecoverWeights': 2,
  'espalier.v1.RunSettings': 55,
  'espalier.v1.ScheduleShape': 2,
  'espalier.v1.ShapeTarget': 4,
  'espalier.v1.SparsityControl': 2,
  'espalier.engine.v1.ClaimEngineRequest': 3,
  'espalier.engine.v1.CloseSessionRequest': 1,
  'espalier.engine.v1.Closings': 4,
  'espalier.engine.v1.ComputeDtype': 2,
  'espalier.engine.v1.ConfirmTrainingRequest': 3,
  'espalier.engine.v1.EvaluateRequest': 8,
  'espalier.engine.v1.ExportContainer': 2,
  'espalier.engine.v1.ExportForm': 4,
  'espalier.engine.v1.ExportModelRequest': 6,
  'espalier.engine.v1.GenerateRequest': 13,
  'espalier.engine.v1.Holder': 5,
  'espalier.engine.v1.Importance': 3,
  'espalier.engine.v1.ImportStateRequest': 4,
  'espalier.engine.v1.InitialiseStateRequest': 3,
  'espalier.engine.v1.InspectModelRequest': 2,
  'espalier.engine.v1.LoadTeacherRequest': 4,
  'espalier.engine.v1.LoadTrainingTokensRequest': 5,
  'espalier.engine.v1.Losses': 4,
  'espalier.engine.v1.Mark': 2,
  'espalier.engine.v1.MeasureSpeedRequest': 11,
  'espalier.engine.v1.MeasureSpeedTableRequest': 6,
  'espalier.engine.v1.ModelFile': 4,
  'espalier.engine.v1.OfferModelRequest': 2,
  'espalier.engine.v1.OneShot': 2,
  'espalier.engine.v1.OpenSessionRequest': 3,
  'espalier.engine.v1.PlanMemoryRequest': 1,
  'espalier.engine.v1.PutStateRequest': 2,
  'espalier.engine.v1.ReleaseEngineRequest': 1,
  'espalier.engine.v1.ReleaseStateRequest': 1,
  'espalier.engine.v1.ScoreRequest': 7,
  'espalier.engine.v1.SendModelFileRequest': 3,
  'espalier.engine.v1.SendStateRequest': 1,
  'espalier.engine.v1.SessionOptions': 14,
  'espalier.engine.v1.SetReportIntervalRequest': 2,
  'espalier.engine.v1.ShapeTarget': 5,
  'espalier.engine.v1.SignedPart': 4,
  'espalier.engine.v1.StopTrainingRequest': 2,
  'espalier.engine.v1.TeacherFile': 2,
  'espalier.engine.v1.TeacherStretch': 2,
  'espalier.engine.v1.TokenShard': 3,
  'espalier.engine.v1.TokenSource': 2,
  'espalier.engine.v1.TrainRequest': 27,
  'espalier.engine.v1.Unstructured': 4,
};

type Type = DescMessage | DescEnum;
type IsKnown = (type: Type, number: number) => boolean;

const numbersOf = (type: Type): number[] => (type.kind === 'message' ? type.fields : type.values).map(({ number }) => number);

let requestTypes: ReadonlyMap<string, Type> | undefined;

/** All messages and enums of an engine's requests, by name. */
function typesOfRequests(): ReadonlyMap<string, Type> {
  if (requestTypes !== undefined) return requestTypes;
  const types = new Map<string, Type>();
  const add = (type: DescMessage): void => {
    if (types.has(type.typeName)) return;
    types.set(type.typeName, type);
    for (const { message, enum: words } of type.fields) {
      if (message !== undefined) add(message);
      if (words !== undefined) types.set(words.typeName, words);
    }
  };
  for (const { input } of fileRegistry().getService(SERVICE)!.methods) add(input);
  requestTypes = types;
  return types;
}

/** The numbers that an engine of this release tells. */
export function knownNumbers(): KnownNumbers[] {
  return [...typesOfRequests()].map(([name, type]) => ({ name, numbers: numbersOf(type) }));
}

/** A part of a request that an engine does not know. */
interface Unknown {
  /** "mask_noise", "EvaluateRequest.closings". */
  name: string;
  setting: Setting | undefined;
}

/** Results of comparisons by what an engine told. Each placement asks for them, and an engine tells the same until it is replaced. */
const compared = new WeakMap<readonly KnownNumbers[], UnknownNumbers | null>();

/** The difference between the requests of this release and those that an engine knows. */
export class UnknownNumbers {
  private constructor(private readonly isKnown: IsKnown) {}

  /** @param known the engine's own words; empty: it is of a release whose engines told nothing. @returns null where it knows everything */
  static to(known: readonly KnownNumbers[]): UnknownNumbers | null {
    const before = compared.get(known);
    if (before !== undefined) return before;
    const told = new Map(known.map(({ name, numbers }) => [name, new Set(numbers)]));
    const isKnown: IsKnown =
      known.length === 0
        ? ({ typeName }, number) => number <= (TOLD_BY_NONE[typeName] ?? 0)
        : ({ typeName }, number) => told.get(typeName)?.has(number) === true;
    const all = [...typesOfRequests().values()];
    const knowsAll = all.every((type) => numbersOf(type).every((number) => isKnown(type, number)));
    const unknown = knowsAll ? null : new UnknownNumbers(isKnown);
    compared.set(known, unknown);
    return unknown;
  }

  /** The names of everything that the engine does not know. The fields of a message of which it knows none are not named one by one. */
  get names(): string[] {
    return [...typesOfRequests().values()].flatMap((type) => {
      const unknown = (type.kind === 'message' ? type.fields : type.values).filter(({ number }) => !this.isKnown(type, number));
      if (unknown.length === numbersOf(type).length) return [];
      return unknown.map((one) => (one.kind === 'field' ? fieldName(one) : one.name));
    });
  }

  /**
   * Says in words which parts of a request the engine does not know. @returns '' where it knows all. A setting that has the value which
   * runs had before there was the setting counts as known, since an engine without the setting does just that.
   * @param type the name of the request's message, such as "espalier.engine.v1.TrainRequest"
   */
  problemWith(...requests: readonly { type: string; message: object }[]): string {
    const found = requests.flatMap(({ type, message }) => this.inMessage(fileRegistry().getMessage(type)!, message as Message));
    const unique = [...new Map(found.map((one) => [one.name, one])).values()];
    return unique.length === 0 ? '' : inWords(unique);
  }

  private inMessage(type: DescMessage, message: Message): Unknown[] {
    const settings = type.typeName === SETTINGS ? requestedValues(message) : null;
    return type.fields.flatMap((field) => {
      const value = valueOf(field, message);
      if (isUnset(field, value)) return [];
      const setting = settings === null ? undefined : settingOfField(field.name);
      if (!this.isKnown(type, field.number))
        return setting !== undefined && isAsBefore(setting, settings!) ? [] : [{ name: fieldName(field), setting }];
      const items =
        field.fieldKind === 'list' ? (value as unknown[]) : field.fieldKind === 'map' ? Object.values(value as object) : [value];
      const { message: inner, enum: words } = field;
      if (inner !== undefined) return items.flatMap((item) => this.inMessage(inner, item as Message));
      if (words === undefined) return [];
      const unknown = words.values.filter(({ number }) => items.includes(number) && !this.isKnown(words, number));
      return unknown.map(({ name }) => ({ name, setting }));
    });
  }
}

const fieldName = ({ name, parent }: DescField): string => (parent.typeName === SETTINGS ? name : `${parent.name}.${name}`);

/** Tells whether the field is not sent: it is missing, or has the value that a receiver assumes for a missing field. */
function isUnset({ presence, fieldKind }: DescField, value: unknown): boolean {
  if (value === undefined) return true;
  if (fieldKind === 'list') return (value as unknown[]).length === 0;
  if (fieldKind === 'map') return Object.keys(value as object).length === 0;
  const isEmpty = value === 0 || value === 0n || value === false || (value as string | Uint8Array).length === 0;
  return presence === FeatureSet_FieldPresence.IMPLICIT && isEmpty;
}

function isAsBefore(setting: Setting, values: RequestedValues): boolean {
  const { name, beforeRecorded } = setting;
  return beforeRecorded !== '' && JSON.stringify(values[name]) === JSON.stringify(valueOfText(setting, beforeRecorded));
}

function inWords(unknown: readonly Unknown[]): string {
  const names = (some: readonly Unknown[]): string => some.map(({ name }) => name).join(', ');
  const settings = unknown.filter(({ setting }) => setting !== undefined);
  const others = unknown.filter(({ setting }) => setting === undefined);
  const what = [
    ...(settings.length === 0 ? [] : [`the ${settings.length === 1 ? 'setting' : 'settings'} ${names(settings)}`]),
    ...(others.length === 0 ? [] : [names(others)]),
  ];
  const launched = settings.map(({ setting }) => {
    const { flag, kind, beforeRecorded } = setting!;
    return kind === 'flag' ? `without ${flag}` : `with ${flag} ${beforeRecorded}`;
  });
  const canDoWithout = unknown.every(({ setting }) => setting !== undefined && setting.beforeRecorded !== '');
  const otherwise = canDoWithout ? `, or launch ${launched.join(' and ')}` : '';
  return `is older than the server and does not know ${what.join(', ')}: update the engine${otherwise}`;
}

/** The error for a request that an engine would take without a part of it. @param problem as of `UnknownNumbers.problemWith` */
export function earlierEngine(name: string, problem: string): EspalierError {
  return new EspalierError('ENGINE_OF_EARLIER_RELEASE', `${name} ${problem}`, { metadata: { problem } });
}
