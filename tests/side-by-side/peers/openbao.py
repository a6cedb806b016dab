"""OpenBao on raft storage, one node: `auth/token/lookup-self`, `create` and `revoke-accessor`."""

from processes import Server, free_port

from .peer import Changes, HttpPeer, call


class OpenBao(HttpPeer):
    """A server that is initialized and unsealed here. Plain HTTP, no audit device, everything else as by default."""

    name = "openbao"
    title = "OpenBao, lookup-self"
    path = "/v1/auth/token/lookup-self"
    creation = "OpenBao, create"
    revocations = {"OpenBao, revoke-accessor": {}}
    # Further lines of the configuration.
    audit = ""

    def headers(self, token):
        """Returns OpenBao's header."""
        return {"x-vault-token": token}

    def start(self):
        """Starts the server and creates tokens that have the default policy."""
        self.port = free_port()
        storage = self.run.directory / self.name
        storage.mkdir()
        config = self.run.directory / f"{self.name}.hcl"
        config.write_text(f"""
            storage "raft" {{
              path    = "{storage}"
              node_id = "one"
            }}
            listener "tcp" {{
              address     = "{self.address}"
              tls_disable = true
            }}
            api_addr     = "http://{self.address}"
            cluster_addr = "https://127.0.0.1:{free_port()}"
            {self.audit}
        """)
        command = [self.run.python.with_name("bao"), "server", f"-config={config}"]
        server = self.serve(Server(command, directory=self.run.directory, name=self.name))
        server.wait_until(lambda: self._health() == 501)
        keys = self._call("PUT", "sys/init", body={"secret_shares": 1, "secret_threshold": 1})
        self._root = keys["root_token"]
        self._call("PUT", "sys/unseal", body={"key": keys["keys"][0]})
        server.wait_until(lambda: self._health() == 200)
        driver = Changes(self.run, self.changes())
        self.ends.callback(driver.end)
        self.tokens = driver.do("create", most=self.run.tokens, show=True)["secrets"]
        driver.end()

    def _health(self):
        """Returns 501 before the initialization, 503 while it is sealed, 200 when it is active."""
        status, _ = call(self.address, "GET", "/v1/sys/health")
        return status

    def _call(self, method, path, token=None, body=None):
        status, answer = call(self.address, method, f"/v1/{path}", self.headers(token) if token else (), body)
        self.must(status in (200, 204), f"{method} {path} has the status {status}: {answer}")
        return answer

    def refuse_revoked(self):
        """Revokes a token as the root token's owner."""
        token = self.tokens[0]
        self.must(self.status(token) == 200, "a token is refused")
        self._call("POST", "auth/token/revoke", self._root, {"token": token})
        self.must(self.status(token) == 403, "a revoked token is accepted")

    def changes(self):
        """Creates and revokes with the root token."""
        return ["openbao", self.address, self._root, self.run.connections]

    def is_refused(self, secret):
        """Returns whether the token does not work."""
        return self.status(secret) == 403


class AuditedOpenBao(OpenBao):
    """The same with an audit device, as OpenBao's documentation recommends for production: each call is logged."""

    name = "openbao-audit"
    title = "OpenBao with a file audit device, lookup-self"
    creation = "OpenBao with a file audit device, create"
    revocations = {"OpenBao with a file audit device, revoke-accessor": {}}

    def start(self):
        """Starts the server with a log in the run's directory, and checks that it is written."""
        log = self.run.directory / "openbao-audit.json"
        self.audit = f'''audit "file" "log" {{
              options {{
                file_path = "{log}"
              }}
            }}'''
        super().start()
        self.must(log.read_text().count("\n") > self.run.tokens, "the audit device logs nothing")
