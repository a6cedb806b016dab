//! The servers that a PostgreSQL URL names: `postgres://USER@HOST1:PORT1,HOST2:PORT2/DATABASE?target_session_attrs=read-write`.

/// The port of a host that names none.
const DEFAULT_PORT: u16 = 5432;
const TARGET_SESSION_ATTRS: &str = "target_session_attrs";

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

/// What a URL says of servers, and the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    /// The servers in the order in which they are tried. Empty if the URL names one or none: then the driver reads it.
    pub(super) hosts: Vec<Host>,
    /// The URL with the first server alone and without the parameters that are read here, for the driver.
    pub(super) url: String,
}

/// Takes the servers out of a URL. The error names what is wrong, without the password.
pub(super) fn parse(url: &str) -> Result<Hosts, String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            // tokend serves from no other server, whatever the URL says.
            Some((TARGET_SESSION_ATTRS, "any" | "read-write" | "primary")) => {}
            Some((TARGET_SESSION_ATTRS, other)) => {
                return Err(format!("{TARGET_SESSION_ATTRS}={other} is a server that takes no writes; leave it out"));
            }
            _ => parameters.push(parameter),
        }
    }
    let start = base.find("://").map_or(0, |scheme| scheme + 3);
    let end = base[start..].find('/').map_or(base.len(), |slash| start + slash);
    let servers = base[start..end].rfind('@').map_or(start, |at| start + at + 1);
    let named: Vec<&str> = base[servers..end].split(',').collect();
    let hosts = if named.len() > 1 { named.iter().map(|host| parse_host(host)).collect::<Result<_, _>>()? } else { Vec::new() };
    let mut url = [&base[..servers], named[0], &base[end..]].concat();
    if !parameters.is_empty() {
        url = [&url, "?", &parameters.join("&")].concat();
    }
    Ok(Hosts { hosts, url })
}

fn parse_host(text: &str) -> Result<Host, String> {
    // The colons inside of brackets are those of an IPv6 address.
    let (name, port) = match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    if name.is_empty() {
        return Err("one of its hosts is empty".to_owned());
    }
    let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| format!("{port:?} is no port")))?;
    Ok(Host { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn several_servers_are_tried_in_order() {
        let parsed = parse("postgres://u:p,w@one:5433,[::1]:5434,two/db?sslmode=require&target_session_attrs=read-write");
        let parsed = parsed.expect("it is right");
        assert_eq!(parsed.hosts, [host("one", 5433), host("[::1]", 5434), host("two", 5432)]);
        assert_eq!(parsed.url, "postgres://u:p,w@one:5433/db?sslmode=require");
    }

    #[test]
    fn one_server_is_left_to_the_driver() {
        for url in ["postgres://u@one:5433/db?sslmode=require", "postgres://one", "postgres:///db?host=/run/pg"] {
            assert_eq!(parse(url), Ok(Hosts { hosts: Vec::new(), url: url.to_owned() }));
        }
        let without = parse("postgres://one/db?target_session_attrs=primary").expect("it is right");
        assert_eq!(without.url, "postgres://one/db");
    }

    #[test]
    fn what_can_not_be_served_from_is_refused_by_name() {
        let problem = |url| parse(url).expect_err("it is wrong");
        assert!(problem("postgres://one/db?target_session_attrs=standby").contains("target_session_attrs=standby"));
        assert!(problem("postgres://one:port,two/db").contains("\"port\""));
        assert!(problem("postgres://one,,two/db").contains("empty"));
    }
}
