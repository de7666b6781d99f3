#!/usr/bin/env node
// A plugin of `buf generate`. It writes a TypeScript module with the descriptors of all protocol files, byte for byte as `buf build` makes
// them. Server reflection sends them, and requests are checked with them. A digest of them, without comments, tells builds apart.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { CodeGeneratorResponse_Feature, CodeGeneratorResponseSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';

const CHARACTERS_A_LINE = 120;
const DIGEST_CHARACTERS = 8;

process.stdin.resume(); // buf's request holds the same files, but encoded again for plugins
const set = execFileSync('node_modules/.bin/buf', ['build', '--as-file-descriptor-set', '-o', '-'], { maxBuffer: 1 << 28 });
const lines = set.toString('base64').match(new RegExp(`.{1,${CHARACTERS_A_LINE}}`, 'g')) ?? [];
const { file } = fromBinary(FileDescriptorSetSchema, set);
const bare = create(FileDescriptorSetSchema, { file: file.map((one) => ({ ...one, sourceCodeInfo: undefined })) });
const digest = createHash('sha256').update(toBinary(FileDescriptorSetSchema, bare)).digest('hex').slice(0, DIGEST_CHARACTERS);
const content = [
  '/** A google.protobuf.FileDescriptorSet in base64. */',
  'export const DESCRIPTOR_SET_BASE64 = `',
  ...lines,
  '`;',
  '/** A digest of the protocol, which differs between builds with different messages, settings or defaults. */',
  `export const PROTOCOL_DIGEST = '${digest}';`,
  '',
].join('\n');
const response = create(CodeGeneratorResponseSchema, {
  supportedFeatures: BigInt(CodeGeneratorResponse_Feature.PROTO3_OPTIONAL),
  file: [{ name: 'descriptor-set.ts', content }],
});
process.stdout.write(toBinary(CodeGeneratorResponseSchema, response));
