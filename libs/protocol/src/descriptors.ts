// The descriptors of all protocol files, as `buf build` makes them. Reflection sends them, and requests are checked with them.
import { create, createFileRegistry, fromBinary, type DescMethod, type FileRegistry } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { DESCRIPTOR_SET_BASE64 } from './generated/descriptor-set.js';

/** The field of a FileDescriptorProto for the comments and the place of each line in the source. */
const SOURCE_CODE_INFO = 9;

let registry: FileRegistry | undefined;
let files: Map<string, Buffer> | undefined;

export function descriptorSet(): Buffer {
  return Buffer.from(DESCRIPTOR_SET_BASE64, 'base64');
}

/** Returns the registry, which is made at the first call, because a client needs none. */
export function fileRegistry(): FileRegistry {
  if (registry === undefined) {
    const file = [...fileDescriptors().values()].map((bytes) => fromBinary(FileDescriptorProtoSchema, withoutSource(bytes)));
    registry = createFileRegistry(create(FileDescriptorSetSchema, { file }));
  }
  return registry;
}

/** Leaves out three quarters of a descriptor, which no check of a request reads. Each start of a server would decode them. */
function withoutSource(file: Buffer): Buffer {
  const reader = new BinaryReader(file);
  const kept: Buffer[] = [];
  while (reader.pos < reader.len) {
    const from = reader.pos;
    const [field, wireType] = reader.tag();
    reader.skip(wireType, field);
    if (field !== SOURCE_CODE_INFO) kept.push(file.subarray(from, reader.pos));
  }
  return Buffer.concat(kept);
}

/** Returns the unchanged bytes of each file's FileDescriptorProto, by the file's path. */
export function fileDescriptors(): ReadonlyMap<string, Buffer> {
  if (files !== undefined) return files;
  files = new Map();
  // A descriptor set has only field 1, once for each file. The first field of a file is its name.
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

/** @param path the path of a call: "/espalier.v1.RunService/LaunchRun" */
export function methodAt(path: string): DescMethod | undefined {
  const [, service = '', method] = path.split('/');
  return fileRegistry()
    .getService(service)
    ?.methods.find(({ name }) => name === method);
}
