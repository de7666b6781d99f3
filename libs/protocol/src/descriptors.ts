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
  // A set is nothing but its field 1, once for each file; the registry has them in the same order.
  const reader = new BinaryReader(descriptorSet());
  const contents: Buffer[] = [];
  while (reader.pos < reader.len) {
    reader.tag();
    contents.push(Buffer.from(reader.bytes()));
  }
  const { file } = fromBinary(FileDescriptorSetSchema, descriptorSet());
  files = new Map(file.map(({ name }, index) => [name, contents[index]!]));
  return files;
}

/** @param path as a call has it: "/espalier.v1.RunService/LaunchRun" */
export function methodAt(path: string): DescMethod | undefined {
  const [, service = '', method] = path.split('/');
  return fileRegistry()
    .getService(service)
    ?.methods.find(({ name }) => name === method);
}
