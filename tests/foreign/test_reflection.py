"""Server reflection, v1 and v1alpha: the contract for a client that has nothing but an address and a key."""

import unittest

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from client import SERVICES, Test, callers, tokens, verify

# The messages of both versions have the same encoding; grpcio-reflection ships those of v1alpha.
PATHS = [f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ["v1", "v1alpha"]]


def fields(message):
    yield from message.field
    for nested in message.nested_type:
        yield from fields(nested)


class Reflection(Test):
    def ask(self, path, *requests, client=None, raw=False):
        call = (client or self.admin).channel.stream_stream(
            path,
            request_serializer=None if raw else reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        return list(call(iter(requests)))

    def test_every_service_is_listed(self):
        for path in PATHS:
            [answer] = self.ask(path, reflection_pb2.ServerReflectionRequest(list_services=""))
            listed = {service.name for service in answer.list_services_response.service}
            self.assertLessEqual({service.full_name for service in SERVICES} | {"grpc.health.v1.Health"}, listed)

    def test_what_is_told_is_the_contract(self):
        for path in PATHS:
            requests = [
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.full_name) for service in SERVICES
            ]
            for service, answer in zip(SERVICES, self.ask(path, *requests), strict=True):
                [encoded] = answer.file_descriptor_response.file_descriptor_proto
                told, ours = (
                    descriptor_pb2.FileDescriptorProto.FromString(encoded),
                    descriptor_pb2.FileDescriptorProto(),
                )
                service.file.CopyToProto(ours)
                # What a compiler may add of itself.
                told.ClearField("source_code_info")
                for field in (field for message in told.message_type for field in fields(message)):
                    field.ClearField("json_name")
                self.assertEqual(told, ours)

    def test_a_client_without_the_contract_can_call(self):
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.admin.channel))
        request_type = message_factory.GetMessageClass(pool.FindMessageTypeByName("tokend.v1.VerifyRequest"))
        response_type = message_factory.GetMessageClass(pool.FindMessageTypeByName("tokend.v1.VerifyResponse"))
        self.assertIsNot(request_type, verify.VerifyRequest)
        made = self.new_token()
        call = self.admin.channel.unary_unary(
            "/tokend.v1.TokenVerify/Verify",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        told = call(request_type(token=made.secret, resource=self.workspace))
        self.assertEqual((told.decision, told.token.name), (verify.DECISION_ALLOW, made.token.name))

    def test_every_file_that_the_contract_imports_is_there(self):
        for path in PATHS:
            for file in [tokens.DESCRIPTOR, *tokens.DESCRIPTOR.dependencies]:
                [answer] = self.ask(path, reflection_pb2.ServerReflectionRequest(file_by_filename=file.name))
                [encoded] = answer.file_descriptor_response.file_descriptor_proto
                self.assertEqual(descriptor_pb2.FileDescriptorProto.FromString(encoded).name, file.name)

    def test_what_is_not_there(self):
        for path in PATHS:
            for request in [
                dict(file_containing_symbol="nobody.Nothing"),
                dict(file_by_filename="nothing.proto"),
                dict(file_by_filename="x" * 10_000),
            ]:
                with self.subTest(f"{path} {request}"[:120]), self.refused("NOT_FOUND", "NOT_SERVED") as told:
                    self.ask(path, reflection_pb2.ServerReflectionRequest(**request))
                self.assertLess(len(told[0].message), 1_000)

    def test_what_is_no_question(self):
        for path in PATHS:
            with self.subTest(path), self.refused("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"):
                self.ask(path, reflection_pb2.ServerReflectionRequest())

    # The library that serves reflection ends such a stream as if nothing had been asked.
    @unittest.expectedFailure
    def test_bytes_that_are_no_question(self):
        for path in PATHS:
            for body in [b"\xff\xff", b"\x22\x02\xff\xfe", b"\x22\xc0\x84\x3d" + b"a" * 1_000_000]:
                with self.assertRaises(grpc.RpcError):
                    self.ask(path, body, raw=True)

    # The library ends the stream instead, with the refusal that test_what_is_not_there looks at.
    @unittest.expectedFailure
    def test_one_unknown_name_does_not_end_the_questions(self):
        for path in PATHS:
            names = ["nobody.Nothing", "tokend.v1.TokenVerify"]
            requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
            unknown, known = self.ask(path, *requests)
            self.assertEqual(unknown.error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])
            self.assertTrue(known.HasField("file_descriptor_response"))

    def test_any_caller_and_no_stranger(self):
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        for path in PATHS:
            for role in set(callers.Role.values()) - {callers.ROLE_UNSPECIFIED}:
                self.assertEqual(len(self.ask(path, listing, client=self.caller(role))), 1)
            with self.refused("UNAUTHENTICATED", "MISSING_CREDENTIAL"):
                self.ask(path, listing, client=self.client())
