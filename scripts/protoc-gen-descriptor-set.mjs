#!/usr/bin/env node
// A plugin of `buf generate`: the descriptors of all protocol files as `buf build` makes them, byte for byte, in a TypeScript
// module. Server reflection sends them, and requests are checked by them.
import { execFileSync } from 'node:child_process';
import { create, toBinary } from '@bufbuild/protobuf';
import { CodeGeneratorResponse_Feature, CodeGeneratorResponseSchema } from '@bufbuild/protobuf/wkt';

const CHARACTERS_A_LINE = 120;

process.stdin.resume(); // buf's request holds the same files, but re-encoded for plugins
const set = execFileSync('node_modules/.bin/buf', ['build', '--as-file-descriptor-set', '-o', '-'], { maxBuffer: 1 << 28 });
const lines = set.toString('base64').match(new RegExp(`.{1,${CHARACTERS_A_LINE}}`, 'g')) ?? [];
const content = [
  '/** A google.protobuf.FileDescriptorSet in base64. */',
  'export const DESCRIPTOR_SET_BASE64 = `',
  ...lines,
  '`;',
  '',
].join('\n');
const response = create(CodeGeneratorResponseSchema, {
  supportedFeatures: BigInt(CodeGeneratorResponse_Feature.PROTO3_OPTIONAL),
  file: [{ name: 'descriptor-set.ts', content }],
});
process.stdout.write(toBinary(CodeGeneratorResponseSchema, response));
