//! `tokend-bench load` on both databases: it goes on after it was killed, and what it stored is served.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use tokend_bench::{
    installation::Installation,
    load::{
        Load, Plan,
        sample::{self, Sampled},
    },
};
use tokend_client::v1;
use tokend_store::Store;
use tokend_test_support::{Storage, eventually, on_both_databases};

const TOKENS: u64 = 3_000;
const SAMPLE: usize = 150;

on_both_databases!(a_load_that_was_killed_goes_on, a_load_with_other_values_is_refused);

/// An installation to load, and its URL if it is not the file in the directory.
struct Loaded {
    installation: Installation,
    url: Option<String>,
}

impl Loaded {
    fn sample_file(&self) -> PathBuf {
        self.installation.directory().join("sample")
    }

    fn load(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokend-bench"));
        command
            .args(["load", "--workspaces", "40", "--batch", "20", "--data-dir"])
            .arg(self.installation.directory())
            .arg("--sample-file")
            .arg(self.sample_file())
            .args(["--sample", &SAMPLE.to_string()])
            .args(more)
            .env_remove("TOKEND_DATABASE_URL");
        if let Some(url) = &self.url {
            command.args(["--database-url", url]);
        }
        command
    }

    async fn tokens(&self) -> BTreeSet<String> {
        let store = self.installation.open().await.expect("the database is there");
        let plan = Plan::new(load(), 0).expect("it is valid");
        let mut names = BTreeSet::new();
        for workspace in plan.workspaces() {
            let of_workspace = listed(&store, &workspace.id.to_string()).await;
            names.extend(of_workspace);
        }
        store.close().await;
        names
    }
}

fn load() -> Load {
    Load {
        workspaces: 40,
        ..Load::of(TOKENS)
    }
}

/// Returns the names of all tokens of a workspace, none of which fails verification.
async fn listed(store: &Store, workspace: &str) -> Vec<String> {
    let id = workspace.parse().expect("an id");
    let (mut names, mut next) = (Vec::new(), None);
    loop {
        let page = store.list_tokens(&id, next, 500).await.expect("it is listed");
        let Some(page) = page else { return names };
        let tokens = page.tokens.into_iter().map(|token| token.expect("its row is intact"));
        names.extend(tokens.map(|token| token.name.to_string()));
        next = page.next;
        if next.is_none() {
            assert_eq!(
                page.total_size,
                names.len() as u64,
                "the tokens of {workspace} are counted"
            );
            return names;
        }
    }
}

fn output(mut command: Command) -> Output {
    command.output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a load and kills it after it has stored some tokens.
async fn interrupted(mut command: Command, sample: &Path, lines: usize) {
    let mut child: Child = command.stdout(Stdio::null()).spawn().expect("the program runs");
    eventually("some tokens are stored", async || {
        let text = fs::read_to_string(sample).unwrap_or_default();
        assert!(
            child.try_wait().expect("it is a child").is_none(),
            "the load ended too soon"
        );
        (text.lines().count() >= lines).then_some(())
    })
    .await;
    child.kill().expect("it runs");
    let _ = child.wait().expect("it was killed");
}

async fn a_load_that_was_killed_goes_on(loaded: Loaded) {
    let arguments = ["--tokens", &TOKENS.to_string()];
    let mut before = 0;
    for lines in [10, 40] {
        interrupted(loaded.load(&arguments), &loaded.sample_file(), lines).await;
        let stored = loaded.tokens().await.len();
        assert!(
            stored > before && stored < TOKENS as usize,
            "{stored} tokens are stored"
        );
        before = stored;
    }
    // As if it had been killed before a COMMIT and while it wrote a line.
    let mut lines = fs::read_to_string(loaded.sample_file()).expect("it is there");
    lines.push_str(r#"{"name":"workspaces/load-1/tok"#);
    fs::write(loaded.sample_file(), lines).expect("it can be written");

    let completed = output(loaded.load(&arguments));
    assert!(completed.status.success(), "{}", stderr(&completed));
    let expected = format!("load: {before} of {TOKENS} tokens are stored already; going on with the others");
    assert!(stderr(&completed).contains(&expected), "{}", stderr(&completed));
    let names = loaded.tokens().await;
    assert_eq!(names.len(), TOKENS as usize);

    let again = output(loaded.load(&arguments));
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(loaded.tokens().await, names, "a load that is complete stores nothing");

    check_sample(&loaded, &names).await;
    let store = loaded.installation.open().await.expect("the database is there");
    let audit = store.verify_audit(Vec::new()).await.expect("it is read");
    assert!(audit.findings.is_empty(), "{:?}", audit.findings);
    store.close().await;
}

/// Asks a server about each token of the sample.
async fn check_sample(loaded: &Loaded, names: &BTreeSet<String>) {
    let file = loaded.sample_file();
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the secrets are the owner's");
    let sample = sample::read(&file).expect("it is complete");
    let distinct: BTreeSet<_> = sample.iter().map(|sampled| sampled.name.clone()).collect();
    assert_eq!((sample.len(), distinct.len()), (SAMPLE, SAMPLE));
    assert!(distinct.is_subset(names), "every token of the sample is stored");

    let server = loaded.installation.serve().await.expect("it serves what was loaded");
    let client = server.endpoint().connect().await.expect("it answers");
    let (mut allowed, mut restricted) = (0, 0);
    for Sampled {
        name,
        token,
        resource,
        scope,
        address,
        is_allowed,
        expiry: _,
    } in sample
    {
        restricted += usize::from(address.is_some());
        allowed += usize::from(is_allowed);
        let question = v1::VerifyRequest {
            token: token.expose().to_owned(),
            resource,
            required_scopes: vec![scope],
            client_address: address.unwrap_or_default(),
            ..Default::default()
        };
        let answer = client
            .token_verify()
            .verify(question)
            .await
            .expect("it is answered")
            .into_inner();
        assert_eq!(
            answer.decision() == v1::Decision::Allow,
            is_allowed,
            "{name}: {answer:?}"
        );
    }
    assert!(
        allowed > SAMPLE / 2 && allowed < SAMPLE && restricted > 0,
        "{allowed} {restricted}"
    );
    drop(client);
    server.stop().await.expect("it stops");
}

async fn a_load_with_other_values_is_refused(loaded: Loaded) {
    let first = output(loaded.load(&["--tokens", "200"]));
    assert!(first.status.success(), "{}", stderr(&first));
    for (other, problem) in [
        (&["--tokens", "200", "--seed", "2"][..], "is there already, as"),
        (&["--tokens", "100"], "give at least as many --tokens as before"),
    ] {
        let refused = output(loaded.load(other));
        assert!(
            !refused.status.success() && stderr(&refused).contains(problem),
            "{}",
            stderr(&refused)
        );
    }
    let more = output(loaded.load(&["--tokens", "300"]));
    assert!(more.status.success(), "{}", stderr(&more));
    assert_eq!(loaded.tokens().await.len(), 300, "a load can be extended");
}

/// Runs a test on a new installation.
fn run_test<F: Future<Output = ()>>(storage: Storage, test: impl FnOnce(Loaded) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let database = match storage {
        Storage::Sqlite => None,
        Storage::Postgres => match tokend_test_support::postgres::database() {
            Some(database) => Some(database),
            None => return,
        },
    };
    let url = database.as_ref().map(|database| database.url().to_owned());
    runtime.block_on(async {
        let installation = Installation::new(url.clone()).await.expect("an installation");
        test(Loaded { installation, url }).await;
    });
}
