//! Usage: when a token was used last, from where, and which of its scopes never. Told a little later, and never in a Verify's way.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, CreateCallerKeyRequest, CreateTokenRequest, Decision, IdentifyTokenRequest,
    ListCallerKeysRequest, ListScopesRequest, ListTokensRequest, RevokeCallerKeyRequest, Role, RotateTokenRequest, Token,
    VerifyRequest,
};
use tokend_tests::{Installation, Issued, Server, eventually, on_both_databases, on_postgres, question, token_in};

on_both_databases!(
    a_use_is_told,
    the_five_latest_addresses_are_told_each_once,
    what_was_denied_is_no_use,
    each_question_of_a_batch_is_a_use,
    scopes_that_nobody_needed_are_told,
    every_answer_with_a_token_tells_its_use,
    a_verify_waits_for_no_write,
    a_caller_key_tells_when_it_was_used,
);

mod side_by_side {
    use super::*;

    on_postgres!(servers_add_up_what_they_saw);

    async fn servers_add_up_what_they_saw(installation: Installation) {
        let one = installation.start().await;
        let other = installation.serve(one.admin_key()).await;
        let acme = one.workspace("acme").await;
        let scopes = ["repository:write", "webhook"].map(str::to_owned).to_vec();
        let token = one.token(CreateTokenRequest { scopes, ..token_in(&acme) }).await;
        let name = token.public.name.as_str();
        for address in 1..=6 {
            let (server, scope) = if address % 2 == 1 { (&one, "repository:write") } else { (&other, "webhook") };
            let question = from(&token, &format!("192.0.2.{address}"));
            allowed(server, VerifyRequest { required_scopes: vec![scope.to_owned()], ..question }).await;
        }
        write_down(&installation, 1);
        let told = once(&one, name, |token| token.last_used_addresses.len() == 5 && token.unused_scopes.is_empty()).await;
        assert_eq!(told.last_used_addresses, ["192.0.2.6", "192.0.2.5", "192.0.2.4", "192.0.2.3", "192.0.2.2"]);
        assert_eq!(other.get_token_with_unused_scopes(name).await, told);
    }
}

const SITE: &str = "workspaces/acme/repositories/site";

/// Moves the clock so far that what was seen is written down. Each time needs a later `minute` than the one before.
fn write_down(installation: &Installation, minute: u64) {
    installation.clock().set_ahead(Duration::from_secs(60) * u32::try_from(minute).expect("few minutes"));
}

async fn allowed(server: &Server, question: VerifyRequest) {
    assert_eq!(server.verdict(question).await.decision(), Decision::Allow);
}

fn from(token: &Issued<Token>, address: &str) -> VerifyRequest {
    VerifyRequest { client_address: address.to_owned(), ..question(&token.secret, SITE, &[]) }
}

/// A secret but for its last character, which is another one.
fn misspelt(secret: &str) -> String {
    let (rest, last) = secret.split_at(secret.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    let time = time.expect("a time is told");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

/// The token, once its use is told as it should be.
async fn once(server: &Server, name: &str, is_told: impl Fn(&Token) -> bool) -> Token {
    eventually("its use is told", async || Some(server.get_token_with_unused_scopes(name).await).filter(&is_told)).await
}

fn is_used(token: &Token) -> bool {
    token.last_used_time.is_some()
}

async fn a_use_is_told(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let name = token.public.name.as_str();
    let unused = server.get_token_with_unused_scopes(name).await;
    assert!(!is_used(&unused) && unused.last_used_addresses.is_empty());
    assert_eq!(unused.unused_scopes, ["repository:write"], "all of them");

    allowed(&server, VerifyRequest { required_scopes: vec!["repository:write".to_owned()], ..from(&token, "192.0.2.7") }).await;
    write_down(&installation, 1);
    let first = once(&server, name, is_used).await;
    assert_eq!((first.last_used_addresses.as_slice(), first.unused_scopes.len()), (&["192.0.2.7".to_owned()][..], 0));
    let after_creation = micros(first.last_used_time.as_ref()) - micros(first.create_time.as_ref());
    assert!((1..60_000_000).contains(&after_creation), "when it was used, not when that was written down: {after_creation}");

    // By now it is a minute later. An address need not be known.
    allowed(&server, question(&token.secret, SITE, &[])).await;
    write_down(&installation, 2);
    let later = once(&server, name, |token| token.last_used_time != first.last_used_time).await;
    let between = micros(later.last_used_time.as_ref()) - micros(first.last_used_time.as_ref());
    assert!((60_000_000..120_000_000).contains(&between), "{between}");
    assert_eq!((later.last_used_addresses, later.unused_scopes.len()), (first.last_used_addresses, 0));
}

async fn the_five_latest_addresses_are_told_each_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let name = token.public.name.as_str();
    for address in ["192.0.2.1", "2001:db8::2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.1", "192.0.2.6", "::ffff:192.0.2.4"]
    {
        allowed(&server, from(&token, address)).await;
    }
    write_down(&installation, 1);
    // Some of them may be written down before the others.
    let told = once(&server, name, |token| token.last_used_addresses.first().is_some_and(|latest| latest == "192.0.2.4")).await;
    let told = told.last_used_addresses;
    assert_eq!(told, ["192.0.2.4", "192.0.2.6", "192.0.2.1", "192.0.2.5", "192.0.2.3"]);

    // What is seen later goes before what was written before.
    for address in ["192.0.2.5", "192.0.2.7"] {
        allowed(&server, from(&token, address)).await;
    }
    write_down(&installation, 2);
    let told = once(&server, name, |token| token.last_used_addresses[0] == "192.0.2.7").await.last_used_addresses;
    assert_eq!(told, ["192.0.2.7", "192.0.2.5", "192.0.2.4", "192.0.2.6", "192.0.2.1"]);
}

async fn what_was_denied_is_no_use(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = CreateTokenRequest { allowed_cidrs: vec!["192.0.2.0/24".to_owned()], ..token_in(&acme) };
    let (denied, revoked, used) =
        (server.token(bound).await, server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.revoke(&revoked.public.name).await;
    for question in [
        from(&denied, "198.51.100.1"),
        from(&revoked, "192.0.2.1"),
        VerifyRequest { required_scopes: vec!["webhook".to_owned()], ..from(&denied, "192.0.2.1") },
        VerifyRequest { resource: "workspaces/other".to_owned(), ..from(&denied, "192.0.2.1") },
        VerifyRequest { token: misspelt(&denied.secret), ..from(&denied, "192.0.2.1") },
    ] {
        assert_eq!(server.verdict(question).await.decision(), Decision::Deny);
    }
    allowed(&server, from(&used, "192.0.2.1")).await;
    write_down(&installation, 1);
    once(&server, &used.public.name, is_used).await;
    for token in [denied, revoked] {
        let token = server.get_token_with_unused_scopes(&token.public.name).await;
        assert!(!is_used(&token) && token.last_used_addresses.is_empty(), "{token:?}");
        assert_eq!(token.unused_scopes, ["repository:write"]);
    }
}

async fn each_question_of_a_batch_is_a_use(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (used, denied) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let other = VerifyRequest { resource: "workspaces/other".to_owned(), ..from(&denied, "192.0.2.1") };
    let requests = vec![other, from(&used, "192.0.2.1"), from(&used, "192.0.2.2")];
    server.admin().token_verify().batch_verify(BatchVerifyRequest { requests }).await.expect("verdicts");
    write_down(&installation, 1);
    let used = once(&server, &used.public.name, is_used).await;
    let mut addresses = used.last_used_addresses;
    addresses.sort();
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.2"]);
    assert!(!is_used(&server.get_token_with_unused_scopes(&denied.public.name).await));
}

async fn scopes_that_nobody_needed_are_told(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let scopes = ["pullrequest:write", "webhook", "pipeline", "account"].map(str::to_owned).to_vec();
    let token = server.token(CreateTokenRequest { scopes, ..token_in(&acme) }).await;
    let name = token.public.name.as_str();
    let unused = |token: &Token| token.unused_scopes.join(" ");
    assert_eq!(
        unused(&server.get_token_with_unused_scopes(name).await),
        "pullrequest:write webhook account pipeline",
        "in the catalogue's order"
    );

    // What implies it would do: pullrequest:write is not needed for that.
    allowed(&server, question(&token.secret, SITE, &["repository:write", "webhook"])).await;
    write_down(&installation, 1);
    assert_eq!(unused(&once(&server, name, is_used).await), "pullrequest:write account pipeline");

    allowed(&server, question(&token.secret, SITE, &["pullrequest:write"])).await;
    allowed(&server, question(&token.secret, SITE, &["account"])).await;
    write_down(&installation, 2);
    once(&server, name, |token| unused(token) == "pipeline").await;
}

async fn every_answer_with_a_token_tells_its_use(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (used, other) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    allowed(&server, from(&used, "192.0.2.7")).await;
    write_down(&installation, 1);
    let told = once(&server, &used.public.name, is_used).await;
    let is_told = |token: &Token| {
        assert_eq!(token.last_used_time, told.last_used_time);
        assert_eq!(token.last_used_addresses, ["192.0.2.7"]);
        assert!(token.unused_scopes.is_empty(), "only GetToken tells them");
    };
    let client = server.admin().token_admin();
    for filter in ["", "state = ACTIVE"] {
        let request = ListTokensRequest { parent: acme.clone(), filter: filter.to_owned(), ..Default::default() };
        let listed = client.clone().list_tokens(request).await.expect("a page").into_inner().tokens;
        let [newer, older] = &listed[..] else { panic!("two tokens, not {listed:?}") };
        assert_eq!((newer.name == other.public.name, is_used(newer)), (true, false));
        is_told(older);
    }
    let identified = client.clone().identify_token(IdentifyTokenRequest { secret: used.secret.clone() }).await;
    is_told(&identified.expect("it is known").into_inner().token.expect("told"));

    let preview = BatchRevokeTokensRequest {
        parent: acme.clone(),
        names: vec![used.public.name.clone()],
        validate_only: true,
        ..Default::default()
    };
    let preview = client.clone().batch_revoke_tokens(preview).await.expect("a preview").into_inner();
    is_told(&preview.tokens[0]);
    let rotate = RotateTokenRequest { name: used.public.name.clone(), ..Default::default() };
    let rotated = client.clone().rotate_token(rotate).await.expect("it is rotated").into_inner();
    is_told(&rotated.predecessor.expect("told"));
    assert!(!is_used(&rotated.token.expect("told")), "the successor is another token");
    is_told(&server.revoke(&used.public.name).await.token.expect("told"));
}

/// Holds up every write of usage until it is dropped.
enum Obstacle {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Obstacle {
    async fn on(installation: &Installation) -> Self {
        if let Some(database) = installation.postgres() {
            let mut connection = PgConnection::connect(database.url()).await.expect("it can be reached");
            connection.execute("BEGIN; LOCK TABLE token_usage IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
            Self::Postgres(connection)
        } else {
            let url = format!("sqlite://{}", installation.data_dir().join("tokend.db").display());
            let mut connection = SqliteConnection::connect(&url).await.expect("it can be opened");
            connection.execute("BEGIN IMMEDIATE").await.expect("the lock");
            Self::Sqlite(connection)
        }
    }

    async fn remove(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.expect("it is closed"),
            Self::Postgres(connection) => connection.close().await.expect("it is closed"),
        }
    }
}

async fn a_verify_waits_for_no_write(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let obstacle = Obstacle::on(&installation).await;
    allowed(&server, from(&token, "192.0.2.1")).await;
    write_down(&installation, 1);
    let failures = || server.process().stderr().matches("uses of tokens can't be recorded").count();
    // From before the write begins until after it has failed.
    eventually("the write has failed", async || {
        tokio::time::timeout(Duration::from_secs(1), allowed(&server, from(&token, "192.0.2.2"))).await.expect("at once");
        (failures() > 0).then_some(())
    })
    .await;
    // Nothing is lost meanwhile, and the log is not filled with it.
    write_down(&installation, 2);
    allowed(&server, from(&token, "192.0.2.3")).await;
    obstacle.remove().await;
    write_down(&installation, 3);
    let told = once(&server, &token.public.name, |token| token.last_used_addresses.len() == 3).await;
    assert_eq!(told.last_used_addresses, ["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
    eventually("the log tells that it is over", async || {
        server.process().stderr().contains("uses of tokens are recorded again").then_some(())
    })
    .await;
    assert_eq!(failures(), 1);
}

async fn a_caller_key_tells_when_it_was_used(installation: Installation) {
    let server = installation.start().await;
    let gateway = server.caller("gateway", Role::Verifier).await;
    let request = CreateCallerKeyRequest { parent: "callers/gateway".to_owned(), ttl: None };
    let mut admin = server.admin().caller_admin();
    let other = admin.create_caller_key(request).await.expect("a key").into_inner();
    assert_eq!(other.key.expect("told").last_used_time, None);
    let keys = async || {
        let request = ListCallerKeysRequest { parent: "callers/gateway".to_owned(), ..Default::default() };
        let mut keys = server.admin().caller_admin().list_caller_keys(request).await.expect("a page").into_inner().keys;
        let used = keys.iter().position(|key| key.name == gateway.public).expect("it is listed");
        (keys.remove(used), keys.remove(0))
    };
    let use_it = async || {
        server.client(&gateway.secret).await.token_admin().list_scopes(ListScopesRequest {}).await.expect("it works");
    };
    // Neither is a use: the second secret is that of nobody.
    assert_eq!(keys().await.0.last_used_time, None);
    let nobody = server.client(&misspelt(&other.secret)).await;
    nobody.token_admin().list_scopes(ListScopesRequest {}).await.expect_err("it does not work");

    use_it().await;
    write_down(&installation, 1);
    let first = eventually("it is told", async || Some(keys().await.0).filter(|key| key.last_used_time.is_some())).await;
    let after_creation = micros(first.last_used_time.as_ref()) - micros(first.create_time.as_ref());
    assert!((1..60_000_000).contains(&after_creation), "{after_creation}");
    write_down(&installation, 2);
    use_it().await;
    write_down(&installation, 3);
    let later =
        eventually("it is told", async || Some(keys().await.0).filter(|key| key.last_used_time != first.last_used_time)).await;
    let between = micros(later.last_used_time.as_ref()) - micros(first.last_used_time.as_ref());
    assert!((60_000_000..180_000_000).contains(&between), "{between}");
    assert_eq!(keys().await.1.last_used_time, None, "the other one");

    let revoke = RevokeCallerKeyRequest { name: gateway.public.clone(), no_wait: false };
    let revoked = admin.revoke_caller_key(revoke).await.expect("it is revoked").into_inner().key.expect("told");
    assert_eq!(revoked.last_used_time, later.last_used_time);
}
