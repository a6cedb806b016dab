//! A secret leaves in the one answer that tells it, and is nowhere else: in no log at any level, no error, no panic, no file, no
//! table, no metric.

use std::{fmt::Debug, fs, path::Path};

use bytes::Bytes;
use tokend_client::v1::{
    CreateCallerKeyRequest, CreateTokenRequest, IdentifyTokenRequest, RevokeCallerKeyRequest, RevokeLeakedTokensRequest, Role,
    RotateTokenRequest, VerifyRequest, revoke_leaked_tokens_request::Leak,
};
use tokend_tests::{
    Installation, Server, eventually, http, on_both_databases, question,
    raw::{self, bearer},
    token_in,
};
use tonic::{Response, Status};

on_both_databases!(a_secret_is_nowhere_but_in_its_answer, nor_is_it_in_logs_for_machines);

async fn a_secret_is_nowhere_but_in_its_answer(installation: Installation) {
    search_everywhere(&installation, "pretty").await;
}

async fn nor_is_it_in_logs_for_machines(installation: Installation) {
    search_everywhere(&installation, "json").await;
}

/// What must be found nowhere.
#[derive(Default)]
struct Secrets {
    /// As people and programs write them.
    texts: Vec<String>,
    /// The 192 bits in them.
    bytes: Vec<Vec<u8>>,
}

impl Secrets {
    /// A secret that was minted: not even its secret part may show.
    fn minted(&mut self, secret: &str) {
        let (part, tail) = secret.rsplit_once('_').expect("a secret has three parts").1.split_at(33);
        self.texts.extend([part.to_owned(), tail.to_owned()]);
        self.bytes.push(part.as_bytes().chunks(11).flat_map(limb).collect());
    }

    /// Something that was presented as one: it may be a typing error of a real one.
    fn presented(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }

    fn assert_not_in(&self, place: &str, content: &[u8]) {
        let forms = self.texts.iter().map(|text| text.as_bytes().to_vec());
        let forms = forms.chain(self.bytes.iter().flat_map(|bytes| [bytes.clone(), hex(bytes).into_bytes()]));
        for (index, form) in forms.enumerate() {
            assert!(!contains(content, &form), "secret {index} is in {place}");
        }
    }
}

/// The 96 bits of the id that a token's name ends with.
fn id_bytes(name: &str) -> Vec<u8> {
    let (high, low) = name.rsplit_once('/').expect("a name ends with an id").1.split_at(11);
    [&limb(high.as_bytes())[..], &limb(low.as_bytes())[4..]].concat()
}

/// Up to eleven base62 digits as the 64 bits that they spell.
fn limb(digits: &[u8]) -> [u8; 8] {
    let value = |digit: &u8| b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".iter().position(|d| d == digit);
    let number = digits.iter().fold(0_u128, |number, digit| number * 62 + value(digit).expect("a digit") as u128);
    u64::try_from(number).expect("64 bits").to_be_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    content.windows(needle.len()).any(|window| window == needle)
}

/// Everything that an answer tells beside its message.
fn outcome<T: Debug>(answer: Result<Response<T>, Status>) -> String {
    match answer {
        Ok(answer) => format!("{:?}", answer.metadata()),
        Err(status) => format!("{status:?} {} {}", status.message(), String::from_utf8_lossy(status.details())),
    }
}

/// What may be told.
struct Told {
    /// Everything beside the messages.
    outcomes: String,
    /// The name of a token, which is no secret.
    name: String,
}

/// Uses every RPC that takes or tells a secret, rightly and wrongly.
async fn use_secrets(server: &Server, secrets: &mut Secrets) -> Told {
    secrets.minted(server.admin_key());
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let revoked = server.token(CreateTokenRequest { request_id: "canary".to_owned(), ..token_in(&acme) }).await;
    let rotate = RotateTokenRequest { name: token.public.name.clone(), request_id: "again".to_owned(), ..Default::default() };
    let rotated = server.admin().token_admin().rotate_token(rotate.clone()).await.expect("it is rotated").into_inner();
    let gateway = server.caller("gateway", Role::Verifier).await;
    for secret in [&token.secret, &revoked.secret, &rotated.secret, &gateway.secret] {
        secrets.minted(secret);
    }
    server.revoke(&revoked.public.name).await;
    let client = server.client(&gateway.secret).await;
    // A replay, and one that is refused.
    let mut told = format!("{:?}", server.admin().token_admin().rotate_token(rotate.clone()).await);
    told += &outcome(server.admin().token_admin().rotate_token(RotateTokenRequest { request_id: String::new(), ..rotate }).await);

    let truncated = &token.secret[..60];
    let presented =
        [&token.secret, &revoked.secret, &gateway.secret, truncated, "hunter2-the-password-of-someone", "tkdw_hunter3hunter3"];
    for secret in presented {
        if secret.len() != 74 {
            secrets.presented(secret);
        }
        let good = question(secret, &acme, &["repository"]);
        let ill_formed = VerifyRequest { client_address: "?".to_owned(), ..question(secret, "?", &["?"]) };
        for question in [good, ill_formed] {
            told += &outcome(client.token_verify().verify(question.clone()).await);
            let batch = tokend_client::v1::BatchVerifyRequest { requests: vec![question] };
            told += &outcome(client.token_verify().batch_verify(batch).await);
        }
        let identify = IdentifyTokenRequest { secret: secret.to_owned() };
        told += &outcome(server.admin().token_admin().identify_token(identify).await);
        // Where a name is expected, and as the credential of a caller.
        let request = tokend_client::v1::GetTokenRequest { name: format!("{acme}/tokens/{secret}") };
        told += &outcome(server.client(secret).await.token_admin().get_token(request).await);
        let headers: [(_, &[u8]); 1] = [("authorization", &bearer(secret))];
        let channel = raw::connect(server.grpc_address()).await;
        for path in ["/tokend.v1.TokenVerify/Verify", "/tokend.v1.TokenVerify/Nothing"] {
            told += &outcome(raw::call(&channel, path, &headers, &[Bytes::from_static(b"\xff")]).await);
        }
    }
    // Some are in the address at which they were found, too.
    let leak = |secret: &str| {
        let said = if secret.len() == 74 { secret } else { "" };
        Leak { secret: secret.to_owned(), url: format!("https://example.com/?token={said}&page=1"), source: said.to_owned() }
    };
    let report = RevokeLeakedTokensRequest { leaks: presented.map(leak).to_vec(), no_wait: false };
    told += &outcome(server.admin().token_admin().revoke_leaked_tokens(report.clone()).await);
    let too_long = |leak: Leak| Leak { url: leak.secret.repeat(50), source: format!("{}\n", leak.secret), ..leak };
    let ill_formed = RevokeLeakedTokensRequest { leaks: report.leaks.into_iter().map(too_long).collect(), no_wait: false };
    told += &outcome(server.admin().token_admin().revoke_leaked_tokens(ill_formed).await);
    let replay = CreateTokenRequest { request_id: "canary".to_owned(), ..token_in(&acme) };
    told += &format!("{:?}", server.token(replay).await.secret);
    let second = CreateCallerKeyRequest { parent: "callers/gateway".to_owned(), ttl: None };
    let second = server.admin().caller_admin().create_caller_key(second).await.expect("a key").into_inner();
    secrets.minted(&second.secret);
    let revoke = RevokeCallerKeyRequest { name: second.key.expect("told").name, no_wait: false };
    told += &outcome(server.admin().caller_admin().revoke_caller_key(revoke).await);
    told += &outcome(server.client(&second.secret).await.token_verify().verify(question("", &acme, &[])).await);
    Told { outcomes: told, name: token.public.name }
}

/// Panics wherever time is read while a call is served, in words that quote a secret; then goes on.
async fn panic_over_a_secret(installation: &Installation, server: &Server, secret: &str) -> String {
    let acme = question(secret, "workspaces/acme", &[]);
    installation.clock().panic_quoting(secret);
    let told = outcome(server.admin().token_verify().verify(acme.clone()).await);
    installation.clock().set_right();
    eventually("it serves again", async || server.admin().token_verify().verify(acme.clone()).await.ok()).await;
    told
}

async fn search_everywhere(installation: &Installation, log_format: &str) {
    let server = installation.start_with(["--log", "trace", "--log-format", log_format, "--reflection"]).await;
    let server_address = server.grpc_address().to_owned();
    let mut secrets = Secrets::default();
    let mut told = use_secrets(&server, &mut secrets).await;
    told.outcomes += &panic_over_a_secret(installation, &server, server.admin_key()).await;
    secrets.assert_not_in("an error or the metadata of an answer", told.outcomes.as_bytes());
    for path in ["/metrics", "/livez", "/readyz", "/nothing"] {
        secrets.assert_not_in(path, http::get(server.ops_address(), path).1.as_bytes());
    }
    // While it runs, so that SQLite's log of what it writes is searched, too; and what it leaves.
    search_files(&secrets, installation.directory());
    let finished = server.stop().await;
    search_files(&secrets, installation.directory());
    for (place, log) in [("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
        secrets.assert_not_in(place, log.as_bytes());
    }
    assert!(finished.stderr.contains(server_address.as_str()), "the search does see the log");
    assert!(finished.stderr.contains("tests/src/clock.rs"), "the log tells where a panic was");

    let id = id_bytes(&told.name);
    if let Some(database) = installation.postgres() {
        let dump = database.dump().await;
        secrets.assert_not_in("the database", dump.as_bytes());
        assert!(dump.contains(&hex(&id)), "the search does see what is in the database");
    } else {
        let file = fs::read(installation.data_dir().join("tokend.db")).expect("the database is there");
        assert!(contains(&file, &id), "the search does see what is in the database");
    }
}

fn search_files(secrets: &Secrets, directory: &Path) {
    for entry in fs::read_dir(directory).expect("it is a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            search_files(secrets, &path);
        } else {
            secrets.assert_not_in(&path.display().to_string(), &fs::read(&path).expect("it can be read"));
        }
    }
}
