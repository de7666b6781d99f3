// Server reflection (v1 and v1alpha, whose messages are the same). It tells the services of a server, and the descriptors of every protocol
// file, byte for byte as `buf build` makes them.
import { status, type handleBidiStreamingCall, type Server, type ServerDuplexStream } from '@grpc/grpc-js';
import type { DescEnum, DescExtension, DescFile, DescMessage } from '@bufbuild/protobuf';
import { fileDescriptors, fileRegistry } from './descriptors.js';
import {
  ServerReflectionService,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from './generated/grpc/reflection/v1/reflection.js';
import { ServerReflectionService as AlphaService } from './generated/grpc/reflection/v1alpha/reflection.js';
import { sent } from './grpc-handlers.js';

type Answer = NonNullable<ServerReflectionResponse['messageResponse']>;
const OWN_SERVICES = ['grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'];

/** @param services the full names of the other services that the server has */
export function addReflection(server: Server, services: string[]): void {
  const names = [...services, ...OWN_SERVICES].sort();
  const handler = reflectionHandler(names);
  server.addService(ServerReflectionService, { serverReflectionInfo: handler });
  server.addService(AlphaService, { serverReflectionInfo: handler });
}

function reflectionHandler(services: string[]): handleBidiStreamingCall<ServerReflectionRequest, ServerReflectionResponse> {
  return (call) => {
    // When the client goes away, the loop ends with an error that no client needs.
    answerAll(call, services).catch(() => call.end());
  };
}

async function answerAll(call: ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>, services: string[]): Promise<void> {
  const cancelled = new AbortController();
  call.on('cancelled', () => cancelled.abort());
  // The call is not destroyed at its end: a destroyed call never sends a status, and the client would wait for it.
  for await (const request of call.iterator({ destroyOnReturn: false }) as AsyncIterable<ServerReflectionRequest>) {
    const answer = { validHost: request.host, originalRequest: request, messageResponse: answerTo(request, services) };
    await sent(call, answer, cancelled.signal);
  }
  call.end();
}

function answerTo({ messageRequest: request }: ServerReflectionRequest, services: string[]): Answer {
  switch (request?.$case) {
    case 'listServices':
      return { $case: 'listServicesResponse', value: { service: services.map((name) => ({ name })) } };
    case 'fileByFilename':
      return fileAnswer(fileRegistry().getFile(request.value), `no file ${request.value}`);
    case 'fileContainingSymbol':
      return fileAnswer(symbols().get(request.value), `no symbol ${request.value}`);
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = request.value;
      const found = extensionsOf(containingType).find(({ number }) => number === extensionNumber);
      return fileAnswer(found?.file, `no extension ${extensionNumber} of ${containingType}`);
    }
    case 'allExtensionNumbersOfType': {
      const baseTypeName = request.value;
      if (fileRegistry().getMessage(baseTypeName) === undefined) return notFound(`no message ${baseTypeName}`);
      const extensionNumber = extensionsOf(baseTypeName).map(({ number }) => number);
      return { $case: 'allExtensionNumbersResponse', value: { baseTypeName, extensionNumber } };
    }
    case undefined:
      return error(status.INVALID_ARGUMENT, 'the request asks for nothing');
  }
}

/** Returns the file and all files that it imports, so that a client needs only one request. */
function fileAnswer(file: DescFile | undefined, problem: string): Answer {
  if (file === undefined) return notFound(problem);
  const wanted = new Set<DescFile>();
  const add = (one: DescFile): void => {
    if (wanted.has(one)) return;
    wanted.add(one);
    one.dependencies.forEach(add);
  };
  add(file);
  const fileDescriptorProto = [...wanted].map(({ proto }) => fileDescriptors().get(proto.name)!);
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function notFound(message: string): Answer {
  return error(status.NOT_FOUND, message.slice(0, 200));
}

function error(errorCode: status, errorMessage: string): Answer {
  return { $case: 'errorResponse', value: { errorCode, errorMessage } };
}

function extensionsOf(message: string): DescExtension[] {
  const all = [...fileRegistry().files].flatMap(({ extensions }) => extensions);
  return all.filter(({ extendee }) => extendee.typeName === message);
}

let symbolFiles: Map<string, DescFile> | undefined;

/** The file of each full name of a message, field, enum, enum value, extension, service or method. */
function symbols(): ReadonlyMap<string, DescFile> {
  if (symbolFiles !== undefined) return symbolFiles;
  const found = new Map<string, DescFile>();
  for (const file of fileRegistry().files) {
    const add = (name: string): unknown => found.set(name, file);
    const addEnum = ({ typeName, values, parent }: DescEnum): void => {
      add(typeName);
      // The values of an enum have names beside the enum, not inside it.
      const scope = parent?.typeName ?? file.proto.package;
      for (const { name } of values) add(scope === '' ? name : `${scope}.${name}`);
    };
    const addMessage = (message: DescMessage): void => {
      add(message.typeName);
      for (const { name } of message.members) add(`${message.typeName}.${name}`);
      message.nestedEnums.forEach(addEnum);
      message.nestedMessages.forEach(addMessage);
    };
    file.messages.forEach(addMessage);
    file.enums.forEach(addEnum);
    for (const { typeName } of file.extensions) add(typeName);
    for (const service of file.services) {
      add(service.typeName);
      for (const { name } of service.methods) add(`${service.typeName}.${name}`);
    }
  }
  symbolFiles = found;
  return found;
}
