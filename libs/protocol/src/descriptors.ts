// The descriptors of all protocol files, as `buf build` makes them: reflection sends them, and requests are checked by them.
import { createFileRegistry, fromBinary, type DescMethod, type FileRegistry } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { DESCRIPTOR_SET_BASE64 } from './generated/descriptor-set.js';

let registry: FileRegistry | undefined;
let files: Map<string, Buffer> | undefined;

export function descriptorSet(): Buffer {
  return Buffer.from(DESCRIPTOR_SET_BASE64, 'base64');
}

/** Made when it is first asked for: a client needs none. */
export function fileRegistry(): FileRegistry {
  registry ??= createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet()));
  return registry;
}

/** The bytes of each file's FileDescriptorProto by its path, untouched. */
export function fileDescriptors(): ReadonlyMap<string, Buffer> {
  if (files !== undefined) return files;
  files = new Map();
  // A set is nothing but its field 1, once for each file; a file's first field is its name.
  const reader = new BinaryReader(descriptorSet());
  while (reader.pos < reader.len) {
    reader.tag();
    const file = Buffer.from(reader.bytes());
    const first = new BinaryReader(file);
    first.tag();
    files.set(first.string(), file);
  }
  return files;
}

/** @param path as a call has it: "/espalier.v1.RunService/LaunchRun" */
export function methodAt(path: string): DescMethod | undefined {
  const [, service = '', method] = path.split('/');
  return fileRegistry()
    .getService(service)
    ?.methods.find(({ name }) => name === method);
}
