//! Parses PostgreSQL URLs as libpq documents them: one or several hosts, and parameters.
//!
//! All forms of hosts work. Every parameter that libpq documents either works or is rejected by name. Any other
//! parameter is rejected, too: an ignored parameter might be the one that encrypts the connection.

mod parameters;

use std::{fmt::Write, net::IpAddr, time::Duration};

use sqlx::postgres::PgConnectOptions;

use parameters::{FIXED, REFUSED};

/// A parsed URL.
pub(super) struct PostgresUrl {
    /// The options for each host, in the order in which they are tried. Only the host differs.
    pub(super) hosts: Vec<PgConnectOptions>,
    /// How long connecting to one host may take, if the URL says so.
    pub(super) connect_timeout: Option<Duration>,
}

/// The value of `sslrootcert` for the certificate authorities of the system.
const SYSTEM: &str = "system";

/// The parameters of a URL.
#[derive(Default)]
struct Parameters {
    user: Option<String>,
    password: Option<String>,
    dbname: Option<String>,
    hosts: Vec<String>,
    addresses: Vec<String>,
    ports: Vec<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    /// Parameters that are passed on, with their names in the driver.
    others: Vec<(String, String)>,
    connect_timeout: Option<Duration>,
}

/// Parses a URL. `variable` looks up environment variables, which provide defaults.
///
/// # Errors
/// A sentence that says what is wrong, without any value that could be a password.
pub(super) fn parse(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<PostgresUrl, String> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or("after postgres: come two slashes")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = place.split_once('/').unwrap_or((place, ""));
    let mut parameters = Parameters {
        dbname: some(decoded(dbname)?),
        ..Parameters::default()
    };
    // An @ in a password should be encoded, but is no ambiguity: no host has one.
    let hosts = match authority.rsplit_once('@') {
        None => authority,
        Some((user, hosts)) => {
            let (user, password) = user
                .split_once(':')
                .map_or((user, None), |(user, password)| (user, Some(password)));
            parameters.user = some(decoded(user)?);
            parameters.password = password.map(decoded).transpose()?;
            hosts
        }
    };
    for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
        let (host, port) = host_and_port(host)?;
        parameters.hosts.push(decoded(host)?);
        parameters.ports.push(decoded(port)?);
    }
    for parameter in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or("a parameter is written name=value")?;
        parameters.set(&decoded(name)?, decoded(value)?)?;
    }
    parameters.finish(variable)
}

/// Takes a host in brackets, or one without a colon, off its port.
fn host_and_port(text: &str) -> Result<(&str, &str), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(address) => {
            let (address, port) = address.split_once(']').ok_or("an IPv6 address ends with a ]")?;
            if address.is_empty() {
                return Err("the brackets hold no IPv6 address".to_owned());
            }
            (address, port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match port.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if port.is_empty() => Ok((host, "")),
        None => Err("after a host comes a colon and its port, or nothing".to_owned()),
    }
}

impl Parameters {
    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(format!("the parameter {name} does not work here: {instead}"));
        }
        if let Some((_, values)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
            let works = value.is_empty() || values.contains(&value.to_ascii_lowercase().as_str());
            let refusal = || format!("the parameter {name} works only as {}", values.join(", "));
            return if works { Ok(()) } else { Err(refusal()) };
        }
        match name {
            // An empty value means the default.
            "host" => self.hosts = list(&value),
            "hostaddr" => self.addresses = list(&value),
            "port" => self.ports = list(&value),
            "user" => self.user = some(value),
            "password" => self.password = some(value),
            "dbname" => self.dbname = some(value),
            "sslmode" | "ssl-mode" => self.sslmode = some(value),
            // As in JDBC, which libpq understands, too.
            "ssl" if value == "true" => self.sslmode = Some("require".to_owned()),
            "ssl" => return Err("the parameter ssl works only as true; write sslmode=...".to_owned()),
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => self.sslrootcert = some(value),
            "sslcert" | "ssl-cert" => self.pass_on("sslcert", value),
            "sslkey" | "ssl-key" => self.pass_on("sslkey", value),
            "options" => self.pass_on("options", value),
            _ if name.starts_with("options[") && name.ends_with(']') => self.pass_on(name, value),
            "statement-cache-capacity" => match value.parse::<usize>() {
                Ok(_) => self.pass_on(name, value),
                Err(_) => return Err("the parameter statement-cache-capacity takes a number".to_owned()),
            },
            // It is the name where there is no other, and there is one.
            "fallback_application_name" => {}
            "connect_timeout" => {
                let seconds: i32 = value
                    .parse()
                    .map_err(|_| "the parameter connect_timeout takes a number of seconds")?;
                // As with libpq, 0 and less are no limit.
                self.connect_timeout = u64::try_from(seconds)
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs);
            }
            // Only a server that accepts writes will do in any case.
            "target_session_attrs" if matches!(value.as_str(), "any" | "read-write" | "primary" | "") => {}
            "target_session_attrs" => {
                return Err(
                    "tokend writes: the parameter target_session_attrs takes read-write, primary or any".to_owned(),
                );
            }
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    fn pass_on(&mut self, name: &str, value: String) {
        if !value.is_empty() {
            self.others.push((name.to_owned(), value));
        }
    }

    fn finish(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<PostgresUrl, String> {
        if self.addresses.iter().any(|address| address.parse::<IpAddr>().is_err()) {
            return Err("the parameter hostaddr takes IP addresses".to_owned());
        }
        if !self.addresses.is_empty() {
            if !self.hosts.is_empty() {
                return Err("hostaddr and a host do not work together; write the address as the host".to_owned());
            }
            self.hosts = std::mem::take(&mut self.addresses);
        }
        let sslrootcert = self.sslrootcert.take().or_else(|| some(variable("PGSSLROOTCERT")?));
        let sslmode = ssl_mode(self.sslmode.take(), sslrootcert.as_deref(), &variable)?;
        // The driver trusts the system's authorities in any case.
        if let Some(file) = sslrootcert.filter(|file| file != SYSTEM) {
            self.others.push(("sslrootcert".to_owned(), file));
        }
        let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0);
        if !self.ports.iter().all(|port| is_port(port)) {
            return Err("a port is a number from 1 to 65535".to_owned());
        }
        if !variable("PGPORT").is_none_or(|port| is_port(&port)) {
            return Err("the environment variable PGPORT takes a number from 1 to 65535".to_owned());
        }
        let count = self.hosts.len().max(1);
        if self.ports.len() > 1 && self.ports.len() != count {
            return Err(format!("it has {} ports for {count} hosts", self.ports.len()));
        }
        let hosts = (0..count)
            .map(|number| self.options(number, sslmode))
            .collect::<Result<_, _>>()?;
        Ok(PostgresUrl {
            hosts,
            connect_timeout: self.connect_timeout,
        })
    }

    /// The driver's options for one host, by a URL in which nothing is left to interpretation. The driver adds what
    /// environment variables and the password file say.
    fn options(&self, number: usize, sslmode: &str) -> Result<PgConnectOptions, String> {
        let host = self.hosts.get(number).filter(|host| !host.is_empty());
        let port = self
            .ports
            .get(number)
            .or(self.ports.first())
            .filter(|port| !port.is_empty());
        // TLS is for TCP.
        let sslmode = if host.is_some_and(|host| host.starts_with('/')) {
            "disable"
        } else {
            sslmode
        };
        let given = [
            ("user", &self.user),
            ("password", &self.password),
            ("dbname", &self.dbname),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let place = [("host", host), ("port", port)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.as_str())));
        let others = self.others.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut url = "postgres:///?".to_owned();
        for (name, value) in given.chain(place).chain([("sslmode", sslmode)]).chain(others) {
            encode(&mut url, name);
            url.push('=');
            encode(&mut url, value);
            url.push('&');
        }
        // Its error could quote the password.
        url.trim_end_matches('&')
            .parse()
            .map_err(|_| "the driver can't read it".to_owned())
    }
}

/// The TLS mode for the driver. Without one in the URL, the environment gives it.
fn ssl_mode(
    given: Option<String>,
    sslrootcert: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<&'static str, String> {
    const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
    let (given, source) = match given {
        Some(mode) => (Some(mode), "the parameter sslmode"),
        None => (
            variable("PGSSLMODE").and_then(some),
            "the environment variable PGSSLMODE",
        ),
    };
    let is_system = sslrootcert == Some(SYSTEM);
    let mode = match given {
        None if is_system => "verify-full",
        None => "prefer",
        Some(given) => MODES
            .into_iter()
            .find(|mode| *mode == given)
            .ok_or_else(|| format!("{source} takes {}", MODES.join(", ")))?,
    };
    match mode {
        "verify-full" => Ok(mode),
        _ if is_system => Err("sslrootcert=system works only with sslmode=verify-full".to_owned()),
        // With a file of authorities, libpq verifies the server's certificate.
        "require" if sslrootcert.is_some() => Ok("verify-ca"),
        mode => Ok(mode),
    }
}

/// The refusal of a parameter that nobody knows, with one that may be meant.
fn unknown(name: &str) -> String {
    const KNOWN: [&str; 13] = [
        "connect_timeout",
        "dbname",
        "host",
        "hostaddr",
        "options",
        "password",
        "port",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "user",
    ];
    let in_common = |known: &str| {
        known
            .bytes()
            .zip(name.bytes())
            .take_while(|(known, name)| known.eq_ignore_ascii_case(name))
            .count()
    };
    let close = KNOWN
        .into_iter()
        .max_by_key(|known| in_common(known))
        .filter(|known| in_common(known) > 3);
    let name: String = name.chars().filter(|char| !char.is_control()).take(40).collect();
    match close {
        Some(close) => format!("there is no parameter {name}; is it {close}?"),
        None => format!("there is no parameter {name}"),
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .filter(|_| !text.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// Replaces %XX by bytes. A plus sign is one.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.split_at_checked(2).and_then(|(digits, behind)| {
            rest = behind;
            u8::from_str_radix(
                str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?,
                16,
            )
            .ok()
        });
        bytes.push(
            digits
                .filter(|byte| *byte != 0)
                .ok_or("after % come two hexadecimal digits, not 00; % itself is %25")?,
        );
    }
    String::from_utf8(bytes).map_err(|_| "what is encoded in it is not UTF-8".to_owned())
}

fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
