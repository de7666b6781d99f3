// Fields of a request that the server does not know. Protobuf drops them, so a server would do without what a client of a later release
// asks for, and the record would not tell. JSON with such a field is refused by the library that reads it.
import type { DescMessage } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { methodAt } from './descriptors.js';

/** The first unknown field of each message that had one. */
const found = new WeakMap<object, string>();

/** Returns the path of the first field that the type lacks, such as "settings.57", or undefined where the type has all fields. */
export function unknownField(type: DescMessage, bytes: Uint8Array): string | undefined {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    const field = type.fields.find((one) => one.number === number);
    if (field === undefined) return String(number);
    if (field.message === undefined || field.fieldKind === 'map' || wireType !== WireType.LengthDelimited) reader.skip(wireType, number);
    else {
      const inner = unknownField(field.message, reader.bytes());
      if (inner !== undefined) return `${field.name}.${inner}`;
    }
  }
  return undefined;
}

/** The unknown field of a message that was read by a method of `heedingUnknownFields`. */
export const unknownFieldOf = (message: object): string | undefined => found.get(message);

/** Returns the same service, whose requests remember that they had an unknown field. */
export function heedingUnknownFields<Service extends ServiceDefinition>(service: Service): Service {
  const methods = Object.entries(service).map(([name, method]) => {
    const type = methodAt(method.path)!.input;
    const requestDeserialize = (bytes: Buffer): object => {
      const message = method.requestDeserialize(bytes) as object;
      const unknown = unknownField(type, bytes);
      if (unknown !== undefined) found.set(message, unknown);
      return message;
    };
    return [name, { ...method, requestDeserialize }];
  });
  return Object.fromEntries(methods) as Service;
}
