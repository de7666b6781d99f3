"""A client that shares no code with Espalier and knows only a server's address and token. It learns all messages and methods
by server reflection. It prints its findings as JSON.

    /usr/bin/python3 foreign-client.py HOST:PORT [TOKEN]      (Debian: python3-grpcio)
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

address, *token = sys.argv[1:]
channel = grpc.insecure_channel(address)
metadata = [("authorization", f"Bearer {token[0]}")] if token else []


def reflection_messages():
    """Makes the messages of the reflection protocol that are needed to ask for services and files."""
    file = descriptor_pb2.FileDescriptorProto(name="bootstrap.proto", package="bootstrap", syntax="proto3")
    shapes = {
        "Request": [("file_by_filename", 3, ""), ("file_containing_symbol", 4, ""), ("list_services", 7, "")],
        "Files": [("file_descriptor_proto", 1, "bytes*")],
        "Service": [("name", 1, "")],
        "Services": [("service", 1, "Service*")],
        "Error": [("error_code", 1, "int32"), ("error_message", 2, "")],
        "Response": [("files", 4, "Files"), ("services", 6, "Services"), ("error", 7, "Error")],
    }
    kinds = {"": 9, "bytes": 12, "int32": 5}
    for name, fields in shapes.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            plain = kind.rstrip("*")
            field = message.field.add(name=field_name, number=number, label=3 if kind.endswith("*") else 1)
            field.type = kinds.get(plain, 11)
            if plain not in kinds:
                field.type_name = f".bootstrap.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return tuple(factory.GetPrototype(pool.FindMessageTypeByName(f"bootstrap.{name}")) for name in ("Request", "Response"))


Request, Response = reflection_messages()


def reflect(version, **question):
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=Request.SerializeToString,
        response_deserializer=Response.FromString,
    )
    (answer,) = call(iter([Request(**question)]), timeout=60)  # the server ends the stream when no more questions come
    return answer


pool = descriptor_pool.DescriptorPool()
contents = {}


def fetch(**question):
    """Adds the files of an answer to the pool, imports first, and returns the name of the first."""
    answer = reflect("v1", **question)
    if answer.HasField("error"):
        raise LookupError(answer.error.error_message)
    files = {}
    for content in answer.files.file_descriptor_proto:
        file = descriptor_pb2.FileDescriptorProto.FromString(content)
        files[file.name] = (file, content)

    def add(name):
        if name in contents:
            return
        file, content = files.get(name, (None, None))
        if file is None:
            return fetch(file_by_filename=name)
        for dependency in file.dependency:
            add(dependency)
        contents[name] = content
        pool.Add(file)

    for name in list(files):
        add(name)
    return next(iter(files))


def message_class(name):
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(name))


def call(service, method, **fields):
    """Makes a call that has one answer, with messages made from the descriptors."""
    described = pool.FindServiceByName(service).FindMethodByName(method)
    request = message_class(described.input_type.full_name)()
    json_format.ParseDict(fields, request, descriptor_pool=pool)
    invoke = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_class(described.output_type.full_name).FromString,
    )
    return invoke(request, metadata=metadata, timeout=60)


def decoded(error):
    """Returns the google.rpc.Status of a failed call, with its details read by their type URLs."""
    fetch(file_by_filename="google/rpc/status.proto")
    fetch(file_by_filename="google/rpc/error_details.proto")
    raw = {key: value for key, value in error.trailing_metadata()}["grpc-status-details-bin"]
    status = message_class("google.rpc.Status").FromString(raw)
    details = []
    for detail in status.details:
        inner = message_class(detail.type_url.split("/")[-1]).FromString(detail.value)
        details.append(json_format.MessageToDict(inner, preserving_proto_field_name=True))
    return {"grpc_code": error.code().name, "code": status.code, "message": status.message, "details": details}


def refused(service, method, **fields):
    try:
        call(service, method, **fields)
    except grpc.RpcError as error:
        return decoded(error)
    return None


services = {
    version: [one.name for one in reflect(version, list_services="*").services.service] for version in ("v1", "v1alpha")
}
for service in services["v1"]:
    fetch(file_containing_symbol=service)
launch = pool.FindMessageTypeByName("espalier.v1.RunSettings")
missing = reflect("v1", file_by_filename="nowhere.proto").error.error_code
runs = call("espalier.v1.RunService", "ListRuns", page_size=5)
report = {
    "services": services,
    "files": {name: content.hex() for name, content in contents.items()},
    "missing": missing,
    "optional": launch.fields_by_name["total_steps"].has_presence,
    "health": json_format.MessageToDict(call("grpc.health.v1.Health", "Check"))["status"],
    "total": runs.total,
    "no_model": refused("espalier.v1.RunService", "LaunchRun", name="x", settings={"target_sparsity": 0.5}),
    "not_a_number": refused("espalier.v1.RunService", "PlanRun", model_path="m", settings={"target_sparsity": "NaN"}),
    "long_name": refused("espalier.v1.RunService", "LaunchRun", name="n" * 200_000),
    "too_large": None,
}
try:
    call("espalier.v1.RunService", "LaunchRun", name="n" * 15_000_000)
except grpc.RpcError as error:
    report["too_large"] = error.code().name
# The files are listed again, since a failed call has added those of error details.
report["files"] = {name: content.hex() for name, content in contents.items()}
print(json.dumps(report))
