"""grpc.health.v1.Health: whether to send traffic here. Needs no credential."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client import Test

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICES = ["", "tokend.v1.TokenVerify", "tokend.v1.TokenAdmin", "liveness"]


class Health(Test):
    def setUp(self):
        self.health = health_pb2_grpc.HealthStub(self.client().channel)

    def test_check(self):
        for service in SERVICES:
            self.assertEqual(self.health.Check(health_pb2.HealthCheckRequest(service=service)).status, SERVING, service)

    def test_check_of_what_is_not_served(self):
        for service in ["nobody.Nothing", "tokend.v1.TokenVerify/Verify", "x" * 10_000]:
            with self.subTest(service[:40]), self.refused("NOT_FOUND", "NOT_SERVED"):
                self.health.Check(health_pb2.HealthCheckRequest(service=service))

    def test_watch_begins_with_what_holds_and_lasts(self):
        for service in SERVICES:
            watch = self.health.Watch(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(next(watch).status, SERVING)
            self.assertTrue(watch.is_active())
            watch.cancel()
            with self.assertRaises(grpc.RpcError):
                next(watch)
            self.assertEqual(watch.code(), grpc.StatusCode.CANCELLED)

    def test_watch_of_what_is_not_served_waits_for_it(self):
        watch = self.health.Watch(health_pb2.HealthCheckRequest(service="nobody.Nothing"))
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        self.assertTrue(watch.is_active())
        watch.cancel()

    def test_watch_ends_with_the_deadline_of_the_client(self):
        watch = self.health.Watch(health_pb2.HealthCheckRequest(), timeout=0.3)
        self.assertEqual(next(watch).status, SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            next(watch)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertEqual(self.health.Check(health_pb2.HealthCheckRequest()).status, SERVING, "the connection goes on")

    def test_bytes_that_are_no_message(self):
        client = self.client()
        with self.refused("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"):
            client.raw("/grpc.health.v1.Health/Check", b"\xff")
        with self.refused("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"):
            next(client.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\xff"))
        with self.refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"):
            self.health.Check(health_pb2.HealthCheckRequest(service="x" * 100_000))
