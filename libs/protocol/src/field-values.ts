// Reads the fields of a message by its descriptor. The messages are those of ts-proto.
import { ScalarType, type DescField } from '@bufbuild/protobuf';

export type Message = Record<string, unknown>;

/** Returns a field's value, or undefined where it is not set. In ts-proto a oneof is { $case, value } under its own name. */
export function valueOf(field: DescField, message: Message): unknown {
  const empty = field.fieldKind === 'scalar' && field.scalar === ScalarType.STRING ? '' : undefined;
  if (field.oneof === undefined) return message[field.localName] ?? empty;
  const choice = message[field.oneof.localName] as { $case: string; value: unknown } | undefined;
  return choice?.$case === field.localName ? choice.value : undefined;
}
