//! Parameters of PostgreSQL URLs that work only with certain values or not at all.

/// Parameters that are accepted only with these values, which are tokend's behaviour anyway.
pub(super) const FIXED: [(&str, &[&str]); 11] = [
    ("channel_binding", &["prefer", "disable"]),
    ("client_encoding", &["utf8", "utf-8", "unicode"]),
    ("gssencmode", &["prefer", "disable"]),
    ("load_balance_hosts", &["disable"]),
    ("replication", &["false", "off", "no", "0"]),
    ("ssl_max_protocol_version", &["tlsv1.3"]),
    ("ssl_min_protocol_version", &["tlsv1", "tlsv1.1", "tlsv1.2"]),
    ("sslcertmode", &["allow"]),
    ("sslcompression", &["0"]),
    ("sslnegotiation", &["postgres"]),
    ("sslsni", &["1"]),
];

/// Parameters of libpq that are rejected, each with what to do instead.
pub(super) const REFUSED: [(&str, &str); 27] = [
    (
        "application_name",
        "tokend names its connections itself, to find out whether servers use a database",
    ),
    ("gssdelegation", NO_GSS),
    ("gsslib", NO_GSS),
    ("keepalives", KEEPALIVES),
    ("keepalives_count", KEEPALIVES),
    ("keepalives_idle", KEEPALIVES),
    ("keepalives_interval", KEEPALIVES),
    ("krbsrvname", NO_GSS),
    ("max_protocol_version", NOT_SUPPORTED),
    ("min_protocol_version", NOT_SUPPORTED),
    ("oauth_client_id", NOT_SUPPORTED),
    ("oauth_client_secret", NOT_SUPPORTED),
    ("oauth_issuer", NOT_SUPPORTED),
    ("oauth_scope", NOT_SUPPORTED),
    ("passfile", "name the file in the environment variable PGPASSFILE"),
    ("require_auth", NOT_SUPPORTED),
    ("requirepeer", NOT_SUPPORTED),
    ("requiressl", "write sslmode=require"),
    ("scram_client_key", NOT_SUPPORTED),
    ("scram_server_key", NOT_SUPPORTED),
    ("service", "write the service's parameters into the URL"),
    ("servicefile", "write the service's parameters into the URL"),
    ("sslcrl", NOT_SUPPORTED),
    ("sslcrldir", NOT_SUPPORTED),
    ("sslkeylogfile", NOT_SUPPORTED),
    ("sslpassword", "give a key file without a password"),
    ("tcp_user_timeout", KEEPALIVES),
];
const NOT_SUPPORTED: &str = "tokend does not support it";
const NO_GSS: &str = "tokend does not support GSSAPI";
const KEEPALIVES: &str = "set it for the whole system, by sysctl";
