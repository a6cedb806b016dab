//! The servers of a run and their database: three servers on one PostgreSQL, each behind a proxy, or one on SQLite.

use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use tokend_client::CallerKey;
use tokend_tests::{Installation, Process, SERVE_ON_FREE_PORTS, broken_rules, clock, eventually, postgres::Node};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tonic::transport::{Channel, Endpoint};

use crate::proxy::Proxy;

/// Connections to a server for verifications, and for changes.
const VERIFY_LINES: usize = 4;
const CHANGE_LINES: usize = 2;
/// The most verifications of a server at once, below the server's limit for each connection.
const MOST_VERIFYING: usize = VERIFY_LINES * 50;

/// More patient than production, because the machine of a run is busy. The limits do not concern the promise.
const LIMITS: &str = "[limits]\nverify_deadline_ms = 5000\npool_wait_ms = 2000\nfailed_authentications = 1000000\n";

/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(20);

/// The servers and their database. Dropping it stops all.
#[derive(Debug)]
pub(crate) struct Cluster {
    servers: Vec<Server>,
    database: Option<Node>,
    installation: Installation,
    broken_rules: String,
    admin: CallerKey,
    starts: AtomicUsize,
}

/// A server, which runs or is down.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) index: usize,
    /// Between remote clients and the server. Its address never changes.
    pub(crate) front: Proxy,
    /// Between the server and PostgreSQL.
    pub(crate) back: Option<Proxy>,
    /// Held while a fault concerns the process.
    pub(crate) process_fault: tokio::sync::Mutex<()>,
    /// Held while a fault concerns the connections to remote clients.
    pub(crate) front_fault: tokio::sync::Mutex<()>,
    /// Held while a fault concerns the connections to the database.
    pub(crate) back_fault: tokio::sync::Mutex<()>,
    running: Mutex<Option<Running>>,
    /// Whether the process is stopped by SIGSTOP.
    is_stopped: AtomicBool,
    next_line: AtomicUsize,
    /// The room for verifications in progress.
    pub(crate) verifying: Semaphore,
}

#[derive(Debug)]
struct Running {
    process: Process,
    ops_address: String,
    verify: Vec<Channel>,
    /// Verifications of remote clients.
    remote: Vec<Channel>,
    change: Vec<Channel>,
}

impl Cluster {
    /// Starts three servers on a new PostgreSQL. Returns nothing if there is no PostgreSQL.
    pub(crate) async fn on_postgres(installation: Installation, broken_rules: &str) -> Option<Self> {
        let database = Node::start()?;
        let address = database.address();
        let installation = installation.on_database(database.url());
        let proxies = (0..3).map(|_| Some(Proxy::start(address))).collect();
        Some(Self::start(installation, Some(database), proxies, None, broken_rules).await)
    }

    /// Starts one server on SQLite.
    pub(crate) async fn on_sqlite(installation: Installation, lease: &str, broken_rules: &str) -> Self {
        Self::start(installation, None, vec![None], Some(lease), broken_rules).await
    }

    async fn start(
        installation: Installation,
        database: Option<Node>,
        proxies: Vec<Option<Proxy>>,
        lease: Option<&str>,
        broken_rules: &str,
    ) -> Self {
        let admin = installation.init().await;
        let servers = proxies.into_iter().enumerate().map(|(index, proxy)| Server {
            index,
            // It leads nowhere until the server has started.
            front: Proxy::start((Ipv4Addr::LOCALHOST, 1).into()),
            back: proxy,
            process_fault: tokio::sync::Mutex::default(),
            front_fault: tokio::sync::Mutex::default(),
            back_fault: tokio::sync::Mutex::default(),
            running: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            next_line: AtomicUsize::new(0),
            verifying: Semaphore::new(MOST_VERIFYING),
        });
        let cluster = Self {
            servers: servers.collect(),
            database,
            installation,
            broken_rules: broken_rules.to_owned(),
            admin: CallerKey::new(&admin).expect("the key can be sent"),
            starts: AtomicUsize::new(0),
        };
        // A server on SQLite reads it at its start alone.
        if let Some(lease) = lease {
            assert!(cluster.set_lease(lease).await, "the lease is set to {lease}");
        }
        for server in &cluster.servers {
            cluster.launch(server).await;
        }
        cluster
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Returns the addresses of the servers for remote clients. They never change.
    pub(crate) fn front_addresses(&self) -> Vec<String> {
        let address = |server: &Server| server.front.address().to_string();
        self.servers.iter().map(address).collect()
    }

    /// Returns PostgreSQL, if that is where the data is.
    pub(crate) fn database(&self) -> Option<&Node> {
        self.database.as_ref()
    }

    /// Returns the key of the first caller, an ADMIN.
    pub(crate) fn admin(&self) -> &CallerKey {
        &self.admin
    }

    /// Returns a command that runs the program on the data, past the proxies.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.installation.command_on_data(arguments.iter().copied());
        command
            .env_remove(clock::VARIABLE)
            .env(broken_rules::VARIABLE, &self.broken_rules);
        command
    }

    /// Returns a command that runs the program.
    pub(crate) fn bare_command(&self, arguments: &[&str]) -> Command {
        self.installation.command(arguments.iter().copied())
    }

    /// Runs `tokend lease set`. Returns whether the program has this command and it succeeded.
    pub(crate) async fn set_lease(&self, lease: &str) -> bool {
        let help = Process::spawn(self.bare_command(&["lease", "set", "--help"]), "");
        if !help.finish().await.status.success() {
            return false;
        }
        let set = Process::spawn(self.command(&["lease", "set", lease]), "");
        set.finish().await.status.success()
    }

    /// Starts the server, again and again while its database is out of reach.
    pub(crate) async fn launch(&self, server: &Server) {
        let launched = async {
            loop {
                if let Some(running) = self.attempt(server).await {
                    return running;
                }
                sleep(START_POLL).await;
            }
        };
        let running = timeout(START_LIMIT, launched)
            .await
            .unwrap_or_else(|_| panic!("server {} does not start", server.index));
        *server.lock() = Some(running);
    }

    /// Returns nothing if the program exits instead of serving.
    async fn attempt(&self, server: &Server) -> Option<Running> {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let ready_file = self.installation.directory().join(format!("server-{number}"));
        let mut command = self.installation.command(["serve", "--log", "error"]);
        command
            // The real clock: the program under test reads a control file whenever it reads the time.
            .env_remove(clock::VARIABLE)
            .args(SERVE_ON_FREE_PORTS)
            .arg("--data-dir")
            .arg(self.installation.data_dir())
            .arg("--ready-file")
            .arg(&ready_file)
            .arg("--config")
            .arg(self.limits());
        if let Some(proxy) = &server.back {
            let url = format!("postgres://postgres@{}/postgres", proxy.address());
            command.args(["--database-url", &url]);
        }
        if !self.broken_rules.is_empty() {
            command.env(broken_rules::VARIABLE, &self.broken_rules);
        }
        let mut process = Process::spawn(command, "");
        let (address, ops_address) = eventually("the server starts or exits", async || {
            if !process.is_running() {
                return Some(None);
            }
            let ready: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ready_file).ok()?).ok()?;
            let address = |name: &str| ready[name].as_str().map(ToOwned::to_owned);
            Some(address("grpc_address").zip(address("ops_address")))
        })
        .await?;
        server
            .front
            .lead_to(address.parse().expect("the address is a socket's"));
        let line = |address: String| {
            Endpoint::from_shared(format!("http://{address}"))
                .expect("the address is valid")
                .tcp_nodelay(true)
                .connect_lazy()
        };
        Some(Running {
            process,
            ops_address,
            verify: (0..VERIFY_LINES).map(|_| line(address.clone())).collect(),
            remote: (0..VERIFY_LINES)
                .map(|_| line(server.front.address().to_string()))
                .collect(),
            change: (0..CHANGE_LINES).map(|_| line(address.clone())).collect(),
        })
    }

    fn limits(&self) -> PathBuf {
        let file = self.installation.directory().join("harness.toml");
        fs::write(&file, LIMITS).expect("the file is written");
        file
    }
}

impl Server {
    /// Returns a connection for verifications, unless the server is down.
    pub(crate) fn verify_line(&self) -> Option<Channel> {
        self.line(|running| &running.verify)
    }

    /// Returns a connection for verifications of remote clients, unless the server is down.
    pub(crate) fn remote_line(&self) -> Option<Channel> {
        self.line(|running| &running.remote)
    }

    /// Returns a connection for changes, unless the server is down.
    pub(crate) fn change_line(&self) -> Option<Channel> {
        self.line(|running| &running.change)
    }

    fn line(&self, lines: impl FnOnce(&Running) -> &Vec<Channel>) -> Option<Channel> {
        let number = self.next_line.fetch_add(1, Ordering::Relaxed);
        let running = self.lock();
        let lines = lines(running.as_ref()?);
        Some(lines[number % lines.len()].clone())
    }

    /// Kills the process, as a crash does.
    pub(crate) fn kill(&self) {
        let running = self.lock().take();
        if let Some(Running { process, .. }) = running {
            process.kill();
        }
        self.is_stopped.store(false, Ordering::Relaxed);
    }

    /// Stops the process with SIGSTOP, and returns its id.
    pub(crate) fn stop(&self) -> Option<u32> {
        let running = self.lock();
        let process = &running.as_ref()?.process;
        process.signal(Signal::STOP);
        self.is_stopped.store(true, Ordering::Relaxed);
        Some(process.id())
    }

    /// Continues the process, unless another one has replaced it.
    pub(crate) fn resume(&self, id: u32) {
        let running = self.lock();
        if let Some(running) = running.as_ref().filter(|running| running.process.id() == id) {
            running.process.signal(Signal::CONT);
            self.is_stopped.store(false, Ordering::Relaxed);
        }
    }

    /// Returns whether the server answers nothing because it is down or stopped.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed) || self.lock().is_none()
    }

    /// Returns how many tokens the running server has looked up in a source, `memory` or `database`.
    pub(crate) fn look_ups(&self, source: &str) -> u64 {
        let Some(ops_address) = self.lock().as_ref().map(|running| running.ops_address.clone()) else {
            return 0;
        };
        let (_, metrics) = tokend_tests::http::get(&ops_address, "/metrics");
        let name = format!("tokend_token_look_ups_total{{source=\"{source}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// Returns what the server wrote to standard error since it started.
    pub(crate) fn log(&self) -> String {
        self.lock()
            .as_ref()
            .map(|running| running.process.stderr())
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
