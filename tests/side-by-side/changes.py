"""Creates and revokes tokens in a closed loop: `changes.py tokend|openbao ADDRESS CREDENTIAL CONNECTIONS`.

Reads a command as JSON from each line of standard input and answers in a line of standard output. It keeps its
connections, each with one call in flight. Every answer is decoded, and one that is not a success ends the program.
"""

import asyncio
import json
import sys
import time

# The longest that a call may take, in seconds.
_TIMEOUT = 30
_TTL_HOURS = 30 * 24


class Tokend:
    """A gRPC connection with the caller key of an ADMIN."""

    async def connect(self, address, key):
        """Connects."""
        import grpc
        from tokend.v1 import token_admin_pb2_grpc

        # A connection of its own: by default, channels to one address share it.
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        await asyncio.wait_for(self._channel.channel_ready(), _TIMEOUT)
        self._tokens = token_admin_pb2_grpc.TokenAdminStub(self._channel)
        self._options = {"timeout": _TIMEOUT, "metadata": [("authorization", f"Bearer {key}")]}

    async def create(self):
        """Creates a token. Returns its name and its secret."""
        from google.protobuf.duration_pb2 import Duration
        from tokend.v1 import token_admin_pb2

        request = token_admin_pb2.CreateTokenRequest(
            parent="workspaces/bench",
            display_name="ci",
            scopes=["repository:write"],
            ttl=Duration(seconds=_TTL_HOURS * 3600),
        )
        response = await self._tokens.CreateToken(request, **self._options)
        assert response.secret, "the answer has no secret"
        return response.token.name, response.secret

    async def revoke(self, name, no_wait):
        """Revokes a token."""
        from tokend.v1 import token_admin_pb2

        request = token_admin_pb2.RevokeTokenRequest(name=name, reason="measured", no_wait=no_wait)
        response = await self._tokens.RevokeToken(request, **self._options)
        assert response.token.HasField("revoke_time"), f"{name} is not revoked"

    async def close(self):
        """Closes the connection."""
        await self._channel.close()

    @staticmethod
    def question(secret, resource, scope):
        """Returns the encoded request of a Verify."""
        from tokend.v1 import token_verify_pb2

        request = token_verify_pb2.VerifyRequest(token=secret, resource=resource, required_scopes=[scope])
        return request.SerializeToString()


class OpenBao:
    """A connection with HTTP/1.1 and a token that may create and revoke others."""

    async def connect(self, address, token):
        """Connects."""
        host, _, port = address.partition(":")
        self._head = f"HTTP/1.1\r\nhost: {address}\r\nx-vault-token: {token}\r\ncontent-type: application/json\r\n"
        self._reader, self._writer = await asyncio.open_connection(host, int(port))

    async def _post(self, path, body):
        body = json.dumps(body)
        request = f"POST /v1/auth/token/{path} {self._head}content-length: {len(body)}\r\n\r\n{body}"
        self._writer.write(request.encode())
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), _TIMEOUT)).decode().lower()
        status, lines = int(head.split()[1]), head.split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        text = await self._reader.readexactly(int(headers["content-length"])) if status != 204 else b""
        assert status in (200, 204), f"{path} has the status {status}: {text.decode()}"
        return json.loads(text) if text else None

    async def create(self):
        """Creates a token. Returns its accessor and the token itself."""
        answer = await self._post("create", {"policies": ["default"], "ttl": f"{_TTL_HOURS}h", "display_name": "ci"})
        return answer["auth"]["accessor"], answer["auth"]["client_token"]

    async def revoke(self, accessor, no_wait):
        """Revokes a token. OpenBao has no other way than to wait until it has."""
        await self._post("revoke-accessor", {"accessor": accessor})

    async def close(self):
        """Closes the connection."""
        self._writer.close()


class Driver:
    """The connections, and the tokens that were created and not yet revoked."""

    def __init__(self, connections):
        self._connections = connections
        self._alive = []

    async def _closed_loop(self, call, seconds, most):
        """Calls on every connection until the time is over or there were enough calls. Returns what each call took."""
        took, begun, end = [], 0, time.perf_counter() + seconds

        async def loop(connection):
            nonlocal begun
            while begun < most and time.perf_counter() < end:
                begun += 1
                start = time.perf_counter()
                await call(connection)
                took.append(round((time.perf_counter() - start) * 1e6))

        await asyncio.gather(*map(loop, self._connections))
        return took

    async def create(self, seconds=3600, most=sys.maxsize, show=False):
        """Creates tokens for this long, or this many."""
        created = []

        async def call(connection):
            created.append(await connection.create())

        took = await self._closed_loop(call, seconds, most)
        self._alive += created
        return {"took": took, "secrets": [secret for _, secret in created] if show else []}

    async def revoke(self, seconds, share=1.0, no_wait=False):
        """Revokes this share of the tokens that were created, or as many as there is time for."""
        most = int(len(self._alive) * share)
        revoked = []

        async def call(connection):
            handle, secret = self._alive.pop()
            await connection.revoke(handle, no_wait)
            revoked.append(secret)

        took = await self._closed_loop(call, seconds, most)
        return {"took": took, "one": revoked[-1] if revoked else None}

    async def questions(self, secrets, resource, scope):
        """Encodes a Verify of each token."""
        return {"questions": [Tokend.question(secret, resource, scope).hex() for secret in secrets]}


async def main(kind, address, credential, connections):
    """Obeys commands until standard input ends."""
    connections = [{"tokend": Tokend, "openbao": OpenBao}[kind]() for _ in range(int(connections))]
    for connection in connections:
        await connection.connect(address, credential)
    driver = Driver(connections)
    while line := await asyncio.to_thread(sys.stdin.readline):
        arguments = json.loads(line)
        before = time.process_time()
        answer = await getattr(driver, arguments.pop("do"))(**arguments)
        print(json.dumps(answer | {"driver": time.process_time() - before}), flush=True)
    for connection in connections:
        await connection.close()


asyncio.run(main(*sys.argv[1:]))
