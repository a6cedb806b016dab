use sqlx::postgres::PgSslMode;

use super::*;

fn parsed(url: &str) -> Result<PostgresUrl, String> {
    parse(url, |_| None)
}

fn good(url: &str) -> PostgresUrl {
    parsed(url).unwrap_or_else(|problem| panic!("{url}: {problem}"))
}

fn refusal(url: &str) -> String {
    match parsed(url) {
        Err(problem) => problem,
        Ok(_) => panic!("{url} is taken"),
    }
}

/// Returns the hosts or directories, and the ports, that a URL names.
fn places(url: &str) -> Vec<(String, u16)> {
    let place = |options: &PgConnectOptions| match options.get_socket() {
        Some(directory) => (directory.display().to_string(), options.get_port()),
        None => (options.get_host().to_owned(), options.get_port()),
    };
    good(url).hosts.iter().map(place).collect()
}

fn ssl_mode_of(url: &str, variables: &[(&str, &str)]) -> String {
    let variable = |wanted: &str| {
        variables
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| (*value).to_owned())
    };
    match parse(url, variable) {
        Ok(url) => format!("{:?}", url.hosts[0].get_ssl_mode()),
        Err(problem) => problem,
    }
}

#[test]
fn every_host_form_works() {
    let place = |host: &str, port| (host.to_owned(), port);
    assert_eq!(places("postgres://h/d"), [place("h", 5432)]);
    assert_eq!(places("postgresql://u:p@h:7/d"), [place("h", 7)]);
    assert_eq!(places("postgres://[2001:db8::1]:7/d"), [place("2001:db8::1", 7)]);
    assert_eq!(places("postgres://[::1]/d"), [place("::1", 5432)]);
    assert_eq!(places("postgres://%2Fvar%2Frun/d"), [place("/var/run", 5432)]);
    assert_eq!(places("postgres://%2Fvar%2Frun:7/d"), [place("/var/run", 7)]);
    assert_eq!(places("postgres:///d?host=/var/run&port=7"), [place("/var/run", 7)]);
    assert_eq!(places("postgres:///d?hostaddr=192.0.2.1"), [place("192.0.2.1", 5432)]);
    assert_eq!(
        places("postgres://a:1,b,[::1]:3/d"),
        [place("a", 1), place("b", 5432), place("::1", 3)]
    );
    assert_eq!(
        places("postgres:///d?host=a,b&port=1,2"),
        [place("a", 1), place("b", 2)]
    );
    assert_eq!(places("postgres:///d?host=a,b&port=7"), [place("a", 7), place("b", 7)]);
    for wrong in ["h:port", "h:0", "h:65536", "[::1", "[::1]7", "[]:1", "a:1:2"] {
        refusal(&format!("postgres://{wrong}/d"));
    }
    refusal("postgres:///d?host=a,b&port=1,2,3");
    refusal("postgres:///d?hostaddr=localhost");
    refusal("postgres://h/d?hostaddr=192.0.2.1");
    refusal("postgres:h/d");
}

#[test]
fn names_are_decoded() {
    let options = &good("postgres://us%40er:p%2Fw@h/d%20b").hosts[0];
    assert_eq!((options.get_username(), options.get_database()), ("us@er", Some("d b")));
    let options = &good("postgres://h?user=u%26v&dbname=d%3Db&options=-c%20search_path%3Da%2Bb+c").hosts[0];
    assert_eq!((options.get_username(), options.get_database()), ("u&v", Some("d=b")));
    assert_eq!(options.get_options(), Some("-c search_path=a+b+c"));
    // An unescaped `@` in the password.
    assert_eq!(good("postgres://u:p@ss@h/d").hosts[0].get_host(), "h");
    for wrong in ["%", "%0", "%zz", "%+1", "%00", "%ff"] {
        refusal(&format!("postgres://h/{wrong}"));
    }
}

#[test]
fn a_misspelt_parameter_is_rejected() {
    let problem = refusal("postgres://u:hush@h/d?sslmod=verify-full");
    assert_eq!(problem, "there is no parameter sslmod; is it sslmode?");
    refusal("postgres://h/d?SSLMODE=verify-full");
    refusal("postgres://h/d?sslmode");
    refusal("postgres://h/d?=1");
    for url in [
        "postgres://u:hush@h:x/d",
        "postgres://h/d?password=hush&x=hush",
        "postgres://u:hush@h/d?sslmode=hush",
    ] {
        assert!(!refusal(url).contains("hush"), "{url}");
    }
}

/// As of <https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS>.
#[test]
fn every_libpq_parameter_works_or_is_rejected_by_name() {
    const DOCUMENTED: [&str; 50] = [
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "require_auth",
        "channel_binding",
        "connect_timeout",
        "client_encoding",
        "options",
        "application_name",
        "fallback_application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "replication",
        "gssencmode",
        "sslmode",
        "requiressl",
        "sslnegotiation",
        "sslcompression",
        "sslcert",
        "sslkey",
        "sslkeylogfile",
        "sslpassword",
        "sslcertmode",
        "sslrootcert",
        "sslcrl",
        "sslcrldir",
        "sslsni",
        "requirepeer",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "min_protocol_version",
        "max_protocol_version",
        "krbsrvname",
        "gsslib",
        "gssdelegation",
        "scram_client_key",
        "scram_server_key",
        "service",
        "target_session_attrs",
        "load_balance_hosts",
        "oauth_issuer",
        "oauth_client_id",
        "oauth_client_secret",
    ];
    for name in DOCUMENTED {
        if let Err(problem) = parsed(&format!("postgres:///d?{name}=strange")) {
            assert!(
                problem.contains(name) && !problem.contains("there is no"),
                "{name}: {problem}"
            );
        }
    }
    for works in [
        "channel_binding=prefer",
        "client_encoding=UTF8",
        "gssencmode=disable",
        "sslsni=1",
        "connect_timeout=10",
        "sslcert=c&sslkey=k",
        "ssl_min_protocol_version=TLSv1.2",
        "fallback_application_name=x",
        "sslmode=",
        "options[work_mem]=1MB",
    ] {
        good(&format!("postgres://h/d?{works}"));
    }
    for not in [
        "channel_binding=require",
        "gssencmode=require",
        "replication=database",
        "require_auth=scram-sha-256",
        "sslmode=allow",
    ] {
        refusal(&format!("postgres://h/d?{not}"));
    }
}

#[test]
fn the_ssl_mode_is_the_requested_one() {
    let mode = |query: &str| ssl_mode_of(&format!("postgres://h/d?{query}"), &[]);
    for (query, wanted) in [
        ("", PgSslMode::Prefer),
        ("sslmode=disable", PgSslMode::Disable),
        ("sslmode=require", PgSslMode::Require),
        ("ssl=true", PgSslMode::Require),
        ("sslmode=require&sslrootcert=ca.pem", PgSslMode::VerifyCa),
        ("sslmode=verify-ca", PgSslMode::VerifyCa),
        ("sslmode=verify-full&sslrootcert=ca.pem", PgSslMode::VerifyFull),
        ("sslrootcert=system", PgSslMode::VerifyFull),
    ] {
        assert_eq!(mode(query), format!("{wanted:?}"), "{query}");
    }
    assert!(mode("sslrootcert=system&sslmode=require").contains("verify-full"));
    assert!(mode("sslmode=Verify-Full").contains("sslmode takes"));
    assert_eq!(
        ssl_mode_of("postgres://h/d", &[("PGSSLMODE", "verify-full")]),
        "VerifyFull"
    );
    assert_eq!(
        ssl_mode_of("postgres://h/d?sslmode=disable", &[("PGSSLMODE", "verify-full")]),
        "Disable"
    );
    assert!(ssl_mode_of("postgres://h/d", &[("PGSSLMODE", "verify")]).contains("PGSSLMODE takes"));
    assert_eq!(
        ssl_mode_of("postgres://h/d?sslmode=require", &[("PGSSLROOTCERT", "ca.pem")]),
        "VerifyCa"
    );
    // A Unix socket needs no TLS.
    assert_eq!(ssl_mode_of("postgres:///d?host=/run&sslmode=require", &[]), "Disable");
}

#[test]
fn several_hosts_can_be_restricted_to_the_writable_one() {
    let url = good("postgres://a,b/d?target_session_attrs=read-write&connect_timeout=3");
    assert_eq!(
        (url.hosts.len(), url.connect_timeout),
        (2, Some(Duration::from_secs(3)))
    );
    assert_eq!(good("postgres://a,b/d?target_session_attrs=any").hosts.len(), 2);
    assert_eq!(good("postgres://a/d?connect_timeout=0").connect_timeout, None);
    for wrong in ["read-only", "standby", "prefer-standby", "best"] {
        assert!(refusal(&format!("postgres://a/d?target_session_attrs={wrong}")).contains("read-write"));
    }
}
