//! A secret appears only in the answer that issues it: in no log at any level, no error, no panic, no file, no table
//! and no metric.

use std::{fmt::Debug, fs, path::Path};

use bytes::Bytes;
use tokend_client::v1::{
    CreateCallerKeyRequest, CreateTokenRequest, IdentifyTokenRequest, RevokeCallerKeyRequest,
    RevokeLeakedTokensRequest, Role, RotateTokenRequest, VerifyRequest, revoke_leaked_tokens_request::Leak,
};
use tokend_tests::{
    Installation, Server, eventually, http, on_both_databases, question,
    raw::{self, bearer},
    token_in,
};
use tonic::{Response, Status};

on_both_databases!(
    a_secret_appears_only_in_its_answer,
    a_secret_does_not_appear_in_json_logs
);

async fn a_secret_appears_only_in_its_answer(installation: Installation) {
    search_everywhere(&installation, "pretty").await;
}

async fn a_secret_does_not_appear_in_json_logs(installation: Installation) {
    search_everywhere(&installation, "json").await;
}

/// The secrets that the search must not find.
#[derive(Default)]
struct Secrets {
    /// Parts of the secrets, as text.
    texts: Vec<String>,
    /// The 192 random bits of each secret.
    bytes: Vec<Vec<u8>>,
}

impl Secrets {
    /// Adds an issued secret: its random part and its tail must not appear.
    fn add_issued(&mut self, secret: &str) {
        let (part, tail) = secret
            .rsplit_once('_')
            .expect("a secret has three parts")
            .1
            .split_at(33);
        self.texts.extend([part.to_owned(), tail.to_owned()]);
        self.bytes.push(part.as_bytes().chunks(11).flat_map(limb).collect());
    }

    /// Adds a text that was presented as a secret: it may be a mistyped one.
    fn add_presented(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }

    fn assert_not_in(&self, place: &str, content: &[u8]) {
        let forms = self.texts.iter().map(|text| text.as_bytes().to_vec());
        let forms = forms.chain(
            self.bytes
                .iter()
                .flat_map(|bytes| [bytes.clone(), hex(bytes).into_bytes()]),
        );
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
    let value = |digit: &u8| {
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
            .iter()
            .position(|d| d == digit)
    };
    let number = digits.iter().fold(0_u128, |number, digit| {
        number * 62 + value(digit).expect("a digit") as u128
    });
    u64::try_from(number).expect("64 bits").to_be_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    content.windows(needle.len()).any(|window| window == needle)
}

/// Returns everything in an answer except its message.
fn outcome<T: Debug>(answer: Result<Response<T>, Status>) -> String {
    match answer {
        Ok(answer) => format!("{:?}", answer.metadata()),
        Err(status) => format!(
            "{status:?} {} {}",
            status.message(),
            String::from_utf8_lossy(status.details())
        ),
    }
}

/// What the calls returned.
struct Answers {
    /// The errors and the metadata.
    outcomes: String,
    /// The name of a token, which is not secret.
    name: String,
}

/// Calls every RPC that takes or returns a secret, with valid and invalid requests.
async fn use_secrets(server: &Server, secrets: &mut Secrets) -> Answers {
    secrets.add_issued(server.admin_key());
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let revoked = server
        .token(CreateTokenRequest {
            request_id: "canary".to_owned(),
            ..token_in(&acme)
        })
        .await;
    let rotate = RotateTokenRequest {
        name: token.public.name.clone(),
        request_id: "again".to_owned(),
        ..Default::default()
    };
    let rotated = server
        .admin()
        .token_admin()
        .rotate_token(rotate.clone())
        .await
        .expect("RotateToken succeeds")
        .into_inner();
    let gateway = server.caller("gateway", Role::Verifier).await;
    for secret in [&token.secret, &revoked.secret, &rotated.secret, &gateway.secret] {
        secrets.add_issued(secret);
    }
    server.revoke(&revoked.public.name).await;
    let client = server.client(&gateway.secret).await;
    // A retry, and a call that is refused.
    let mut outcomes = format!("{:?}", server.admin().token_admin().rotate_token(rotate.clone()).await);
    outcomes += &outcome(
        server
            .admin()
            .token_admin()
            .rotate_token(RotateTokenRequest {
                request_id: String::new(),
                ..rotate
            })
            .await,
    );

    let truncated = &token.secret[..60];
    let presented = [
        &token.secret,
        &revoked.secret,
        &gateway.secret,
        truncated,
        "hunter2-the-password-of-someone",
        "tkdw_hunter3hunter3",
    ];
    for secret in presented {
        if secret.len() != 74 {
            secrets.add_presented(secret);
        }
        let good = question(secret, &acme, &["repository"]);
        let ill_formed = VerifyRequest {
            client_address: "?".to_owned(),
            ..question(secret, "?", &["?"])
        };
        for question in [good, ill_formed] {
            outcomes += &outcome(client.token_verify().verify(question.clone()).await);
            let batch = tokend_client::v1::BatchVerifyRequest {
                requests: vec![question],
            };
            outcomes += &outcome(client.token_verify().batch_verify(batch).await);
        }
        let identify = IdentifyTokenRequest {
            secret: secret.to_owned(),
        };
        outcomes += &outcome(server.admin().token_admin().identify_token(identify).await);
        // The secret as part of a name, and as the credential of a caller.
        let request = tokend_client::v1::GetTokenRequest {
            name: format!("{acme}/tokens/{secret}"),
        };
        outcomes += &outcome(server.client(secret).await.token_admin().get_token(request).await);
        let headers: [(_, &[u8]); 1] = [("authorization", &bearer(secret))];
        let channel = raw::connect(server.grpc_address()).await;
        for path in ["/tokend.v1.TokenVerify/Verify", "/tokend.v1.TokenVerify/Nothing"] {
            outcomes += &outcome(raw::call(&channel, path, &headers, &[Bytes::from_static(b"\xff")]).await);
        }
    }
    // Some reports have the secret in the address, too.
    let leak = |secret: &str| {
        let quoted = if secret.len() == 74 { secret } else { "" };
        Leak {
            secret: secret.to_owned(),
            url: format!("https://example.com/?token={quoted}&page=1"),
            source: quoted.to_owned(),
        }
    };
    let report = RevokeLeakedTokensRequest {
        leaks: presented.map(leak).to_vec(),
        no_wait: false,
    };
    outcomes += &outcome(server.admin().token_admin().revoke_leaked_tokens(report.clone()).await);
    let too_long = |leak: Leak| Leak {
        url: leak.secret.repeat(50),
        source: format!("{}\n", leak.secret),
        ..leak
    };
    let ill_formed = RevokeLeakedTokensRequest {
        leaks: report.leaks.into_iter().map(too_long).collect(),
        no_wait: false,
    };
    outcomes += &outcome(server.admin().token_admin().revoke_leaked_tokens(ill_formed).await);
    let replay = CreateTokenRequest {
        request_id: "canary".to_owned(),
        ..token_in(&acme)
    };
    outcomes += &format!("{:?}", server.token(replay).await.secret);
    let second = CreateCallerKeyRequest {
        parent: "callers/gateway".to_owned(),
        ttl: None,
    };
    let second = server
        .admin()
        .caller_admin()
        .create_caller_key(second)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    secrets.add_issued(&second.secret);
    let revoke = RevokeCallerKeyRequest {
        name: second.key.expect("CreateCallerKey succeeds").name,
        no_wait: false,
    };
    outcomes += &outcome(server.admin().caller_admin().revoke_caller_key(revoke).await);
    outcomes += &outcome(
        server
            .client(&second.secret)
            .await
            .token_verify()
            .verify(question("", &acme, &[]))
            .await,
    );
    Answers {
        outcomes,
        name: token.public.name,
    }
}

/// Makes the server panic with a message that quotes a secret, wherever a call reads the time, and returns the answer.
async fn panic_over_a_secret(installation: &Installation, server: &Server, secret: &str) -> String {
    let acme = question(secret, "workspaces/acme", &[]);
    installation.clock().panic_quoting(secret);
    let panicked = outcome(server.admin().token_verify().verify(acme.clone()).await);
    installation.clock().set_right();
    eventually("the server serves again", async || {
        server.admin().token_verify().verify(acme.clone()).await.ok()
    })
    .await;
    panicked
}

async fn search_everywhere(installation: &Installation, log_format: &str) {
    let server = installation
        .start_with(["--log", "trace", "--log-format", log_format, "--reflection"])
        .await;
    let server_address = server.grpc_address().to_owned();
    let mut secrets = Secrets::default();
    let mut answers = use_secrets(&server, &mut secrets).await;
    answers.outcomes += &panic_over_a_secret(installation, &server, server.admin_key()).await;
    secrets.assert_not_in("an error or the metadata of an answer", answers.outcomes.as_bytes());
    for path in ["/metrics", "/livez", "/readyz", "/nothing"] {
        secrets.assert_not_in(path, http::get(server.ops_address(), path).1.as_bytes());
    }
    // Search while the server runs, to include SQLite's write-ahead log, and once more after it has stopped.
    search_files(&secrets, installation.directory());
    let finished = server.stop().await;
    search_files(&secrets, installation.directory());
    for (place, log) in [("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
        secrets.assert_not_in(place, log.as_bytes());
    }
    assert!(
        finished.stderr.contains(server_address.as_str()),
        "the search covers the log"
    );
    assert!(
        finished.stderr.contains("tests/src/clock.rs"),
        "the log has the location of the panic"
    );

    let id = id_bytes(&answers.name);
    if let Some(database) = installation.postgres() {
        let dump = database.dump().await;
        secrets.assert_not_in("the database", dump.as_bytes());
        assert!(dump.contains(&hex(&id)), "the search covers the database");
    } else {
        let file = fs::read(installation.data_dir().join("tokend.db")).expect("the database file is readable");
        assert!(contains(&file, &id), "the search covers the database");
    }
}

fn search_files(secrets: &Secrets, directory: &Path) {
    for entry in fs::read_dir(directory).expect("the directory is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            search_files(secrets, &path);
        } else {
            secrets.assert_not_in(
                &path.display().to_string(),
                &fs::read(&path).expect("the file is readable"),
            );
        }
    }
}
