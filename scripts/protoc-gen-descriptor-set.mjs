#!/usr/bin/env node
// A plugin of `buf generate`. It writes a TypeScript module with the descriptors of all protocol files, byte for byte as `buf build` makes
// them. Server reflection sends them, and requests are checked with them. The size of the public API is counted here, because each command
// compares it with its server's.
import { execFileSync } from 'node:child_process';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { CodeGeneratorResponse_Feature, CodeGeneratorResponseSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';

const CHARACTERS_A_LINE = 120;
const PUBLIC_API = 'espalier/v1/';

process.stdin.resume(); // buf's request holds the same files, but encoded again for plugins
const set = execFileSync('node_modules/.bin/buf', ['build', '--as-file-descriptor-set', '-o', '-'], { maxBuffer: 1 << 28 });
const lines = set.toString('base64').match(new RegExp(`.{1,${CHARACTERS_A_LINE}}`, 'g')) ?? [];
const publicFiles = fromBinary(FileDescriptorSetSchema, set).file.filter(({ name }) => name.startsWith(PUBLIC_API));
const content = [
  '/** A google.protobuf.FileDescriptorSet in base64. */',
  'export const DESCRIPTOR_SET_BASE64 = `',
  ...lines,
  '`;',
  '/** The number of fields, values of enums and methods of the public API. */',
  `export const API_SIZE = ${sum(publicFiles.map(sizeOf))};`,
  '',
].join('\n');
const response = create(CodeGeneratorResponseSchema, {
  supportedFeatures: BigInt(CodeGeneratorResponse_Feature.PROTO3_OPTIONAL),
  file: [{ name: 'descriptor-set.ts', content }],
});
process.stdout.write(toBinary(CodeGeneratorResponseSchema, response));

function sizeOf({ messageType, enumType, service }) {
  return sum([...messageType.map(fieldsIn), ...enumType.map(({ value }) => value.length), ...service.map(({ method }) => method.length)]);
}

function fieldsIn({ field, nestedType, enumType }) {
  return field.length + sum(nestedType.map(fieldsIn)) + sum(enumType.map(({ value }) => value.length));
}

function sum(numbers) {
  return numbers.reduce((all, one) => all + one, 0);
}
