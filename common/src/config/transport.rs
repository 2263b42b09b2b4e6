//! What protects a configuration's connections, and what of them is not protected. The defaults protect
//! everything; whatever is weaker stands in the configuration in words, and is said by `check`, at every
//! start and in the status.

use std::net::IpAddr;

use super::{Apply, Config, Encrypt, KafkaLog, Log, Source, TargetTls};

/// A connection that is less than private, or whose other end is not known for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    /// What was chosen, and what it lets others do.
    pub what: String,
    /// What to choose instead.
    pub fix: &'static str,
}

impl Apply {
    /// Whether `host` is the directory of a local socket.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether the server's certificate is verified, with its name. A `ca_file` always verifies.
    pub fn verifies(&self) -> bool {
        self.tls == TargetTls::VerifyFull || self.ca_file.is_some()
    }

    /// What of the connections to this target is not protected.
    pub fn weakness(&self) -> Option<Weakness> {
        if self.is_local() || self.verifies() {
            return None;
        }
        let (word, lets) = match self.tls {
            TargetTls::Disable => {
                ("disable", "whoever is on the way can read and change every row")
            }
            TargetTls::Prefer => (
                "prefer",
                "whoever is on the way can turn encryption off, read and change every row",
            ),
            TargetTls::Require => (
                "require",
                "the server's certificate is not verified, so that whoever answers in its place gets \
                 every row",
            ),
            TargetTls::VerifyFull => return None,
        };
        Some(Weakness {
            what: format!(
                "connections to PostgreSQL at {} have tls = \"{word}\": {lets}",
                self.host
            ),
            fix: "set tls = \"verify_full\", with `ca_file` where the certificate is of an authority of \
                  your own",
        })
    }

    /// What contradicts itself: the key and what is wrong.
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        if self.ca_file.is_some() && self.tls == TargetTls::Disable && !self.is_local() {
            return Some((
                "tls",
                "\"disable\" beside a ca_file verifies nothing: remove one of them",
            ));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Some(("cert_file", "and key_file stand together: give both, or none"));
        }
        None
    }
}

impl Source {
    /// What of the connections to the source is not protected.
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let mut found = Vec::new();
        let place = &self.host;
        let off = self.encrypt == Encrypt::Off;
        if off {
            found.push(Weakness {
                what: format!(
                    "connections to SQL Server at {place} have encrypt = \"off\": whoever is on the way \
                     can read and change every row, and the login's password"
                ),
                fix: "set encrypt = \"required\"",
            });
        }
        if self.encrypt == Encrypt::Login {
            found.push(Weakness {
                what: format!(
                    "connections to SQL Server at {place} have encrypt = \"login\": whoever is on the way \
                     can read and change every row"
                ),
                fix: "set encrypt = \"required\"",
            });
        }
        if self.trust_server_certificate && !off {
            found.push(Weakness {
                what: format!(
                    "connections to SQL Server at {place} have trust_server_certificate = true: whoever \
                     answers in its place gets the login's password"
                ),
                fix: "let `ca_file` name the authority of the server's certificate, and remove \
                      trust_server_certificate",
            });
        }
        found
    }

    /// What contradicts itself: the key and what is wrong.
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        match () {
            () if self.ca_file.is_none() => None,
            () if self.trust_server_certificate => Some((
                "trust_server_certificate",
                "accepts any certificate, and ca_file would verify nothing: remove one of them",
            )),
            () if self.encrypt == Encrypt::Off => {
                Some(("encrypt", "\"off\" beside a ca_file verifies nothing: remove one of them"))
            }
            () => None,
        }
    }
}

impl Log {
    /// What of the connections to the log is not protected.
    pub fn weaknesses(&self) -> Vec<Weakness> {
        match self {
            Log::Kafka(kafka) => kafka.weaknesses(),
            Log::Embedded(_) => Vec::new(),
        }
    }
}

impl KafkaLog {
    fn property(&self, name: &str) -> Option<String> {
        self.properties.get(name).map(|value| value.expose().trim().to_lowercase())
    }

    /// What of the connections to the brokers is not protected. On the loopback nobody is on the way.
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let far: Vec<&str> =
            self.brokers.split(',').map(str::trim).filter(|broker| !is_loopback(broker)).collect();
        if far.is_empty() {
            return Vec::new();
        }
        let brokers = far.join(", ");
        let protocol = self.property("security.protocol").unwrap_or_else(|| "plaintext".into());
        if !protocol.ends_with("ssl") {
            return vec![Weakness {
                what: format!(
                    "connections to Kafka at {brokers} have security.protocol = {protocol}: whoever is on \
                     the way can read and change every row"
                ),
                fix: "set security.protocol = \"ssl\" or \"sasl_ssl\" in log.properties",
            }];
        }
        let off = |name: &str, values: &[&str]| {
            self.property(name).is_some_and(|value| values.contains(&value.as_str()))
        };
        let unverified = off("enable.ssl.certificate.verification", &["false", "0", "f"])
            || off("ssl.endpoint.identification.algorithm", &["none"]);
        unverified
            .then(|| Weakness {
                what: format!(
                    "the certificates of Kafka at {brokers} are not verified: whoever answers in its \
                     place can read and change every row"
                ),
                fix: "remove enable.ssl.certificate.verification and \
                      ssl.endpoint.identification.algorithm from log.properties, and give \
                      ssl.ca.location",
            })
            .into_iter()
            .collect()
    }
}

/// Whether `[protocol://]host[:port]` is this machine.
fn is_loopback(broker: &str) -> bool {
    let place = broker.rsplit("//").next().unwrap_or(broker);
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None if place.matches(':').count() > 1 => place,
        None => place.split(':').next().unwrap_or(place),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The first contradiction of a configuration: the key and what is wrong.
pub(super) fn contradiction(config: &Config) -> Option<(String, &'static str)> {
    let source = config.source.as_ref().and_then(Source::contradiction);
    if let Some((key, what)) = source {
        return Some((format!("source.{key}"), what));
    }
    let mut applies = config.apply.iter();
    applies.find_map(|(name, apply)| {
        apply.contradiction().map(|(key, what)| (format!("apply.{name}.{key}"), what))
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigError, parse};

    use super::*;

    const FILE: &str = "[pipeline]\nname = \"p\"\n[source]\nhost = \"db\"\ndatabase = \"d\"\nuser = \"u\"\n\
        SOURCE\n[log]\nkind = \"kafka\"\nbrokers = \"BROKERS\"\nproperties = { LOG }\n[apply.main]\n\
        host = \"HOST\"\ndatabase = \"d\"\nuser = \"u\"\nspool = \"s\"\nTARGET\n";

    fn config(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut text = FILE.to_owned();
        for (word, value) in changes {
            text = text.replace(word, value);
        }
        for (word, value) in
            [("SOURCE", ""), ("BROKERS", "k:9092"), ("LOG", ""), ("HOST", "pg"), ("TARGET", "")]
        {
            text = text.replace(word, value);
        }
        parse(&text, "lockstep.toml", [])
    }

    #[test]
    fn what_is_weaker_than_the_default_is_named() {
        let target = |host: &str, keys: &str| {
            let config = config(&[("HOST", host), ("TARGET", keys)]).unwrap();
            config.apply["main"].weakness().map(|found| found.what)
        };
        assert_eq!(target("pg", ""), None);
        assert_eq!(target("pg", "tls = \"prefer\"\nca_file = \"ca.pem\""), None);
        assert_eq!(target("/run/postgresql", "tls = \"disable\""), None);
        for word in ["disable", "prefer", "require"] {
            let what = target("127.0.0.1", &format!("tls = \"{word}\"")).unwrap();
            assert!(what.contains(word) && what.contains("127.0.0.1"), "{what}");
        }
        let source = |keys: &str| {
            let found = config(&[("SOURCE", keys)]).unwrap().source.unwrap().weaknesses();
            found.into_iter().map(|weakness| weakness.what).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(source(""), "");
        for (keys, word) in [
            ("encrypt = \"off\"", "encrypt = \"off\""),
            ("encrypt = \"login\"", "encrypt = \"login\""),
            ("trust_server_certificate = true", "trust_server_certificate"),
        ] {
            assert!(source(keys).contains(word), "{keys}");
        }
    }

    #[test]
    fn kafka_in_the_clear_beyond_the_loopback_is_named() {
        let found = |brokers: &str, properties: &str| {
            let config = config(&[("BROKERS", brokers), ("LOG", properties)]).unwrap();
            config.log.weaknesses().into_iter().map(|found| found.what).next()
        };
        for near in ["127.0.0.1:9092", "localhost:1,[::1]:2", "PLAINTEXT://localhost:9092", "::1"] {
            assert_eq!(found(near, ""), None, "{near}");
        }
        for far in ["k:9092", "127.0.0.1:1,10.0.0.1:2", "localhost.example:9092", "[fe80::1]:9092"]
        {
            assert!(found(far, "").is_some(), "{far}");
            assert!(found(far, "\"security.protocol\" = \"SASL_PLAINTEXT\"").is_some(), "{far}");
            assert_eq!(found(far, "\"security.protocol\" = \"sasl_ssl\""), None, "{far}");
        }
        for off in [
            "\"enable.ssl.certificate.verification\" = \"false\"",
            "\"ssl.endpoint.identification.algorithm\" = \"none\"",
        ] {
            assert!(
                found("k:1", &format!("\"security.protocol\" = \"ssl\", {off}")).is_some(),
                "{off}"
            );
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for (place, keys, key) in [
            (
                "SOURCE",
                "trust_server_certificate = true\nca_file = \"ca.pem\"",
                "source.trust_server_certificate",
            ),
            ("SOURCE", "encrypt = \"off\"\nca_file = \"ca.pem\"", "source.encrypt"),
            ("TARGET", "tls = \"disable\"\nca_file = \"ca.pem\"", "apply.main.tls"),
            ("TARGET", "cert_file = \"c.pem\"", "apply.main.cert_file"),
            ("TARGET", "key_file = \"k.pem\"", "apply.main.cert_file"),
        ] {
            let error = config(&[(place, keys)]).unwrap_err().to_string();
            assert!(error.contains(key), "{keys}: {error}");
        }
    }
}
