//! `lockstep check` of the configuration against itself: addresses and directories that two would use,
//! and points to begin and end at that cannot be read.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use lockstep_common::config::{Config, Log};
use lockstep_common::service::check::CheckResult;

/// Everything that is wrong; nothing when it all agrees.
pub(crate) fn check(config: &Config) -> Vec<CheckResult> {
    let mut results = lockstep_capture::check_points(&config.capture);
    results.extend(addresses(config));
    results.extend(directories(config));
    results
}

/// Port 0 is a free one each time.
fn addresses(config: &Config) -> Vec<CheckResult> {
    let capture = config.capture.http.map(|http| ("capture.http".to_owned(), http));
    let applies =
        config.apply.iter().filter_map(|(name, a)| Some((format!("apply.{name}.http"), a.http?)));
    let all = capture.into_iter().chain(applies).filter(|(_, http)| http.port() != 0);
    let by_port = all.map(|(key, http)| (http.port(), (key, http.ip())));
    let mut seen: BTreeMap<u16, Vec<(String, std::net::IpAddr)>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (port, (key, ip)) in by_port {
        let others = seen.entry(port).or_default();
        let meets = |other: &std::net::IpAddr| {
            *other == ip || other.is_unspecified() || ip.is_unspecified()
        };
        if let Some((other, _)) = others.iter().find(|(_, other)| meets(other)) {
            wrong.push(CheckResult::fail(
                key.clone(),
                format!("{other} listens at port {port} too"),
                "give each service an address of its own",
            ));
        }
        others.push((key, ip));
    }
    wrong
}

/// Directories of log and spools: none may be another's, or lie within it.
fn directories(config: &Config) -> Vec<CheckResult> {
    let log = match &config.log {
        Log::Embedded(log) => Some(("log.path".to_owned(), absolute(&log.path))),
        Log::Kafka(_) => None,
    };
    let spools =
        config.apply.iter().map(|(name, a)| (format!("apply.{name}.spool"), absolute(&a.spool)));
    let all: Vec<(String, PathBuf)> = log.into_iter().chain(spools).collect();
    let mut wrong = Vec::new();
    for (i, (key, path)) in all.iter().enumerate() {
        let meets = |other: &Path| path.starts_with(other) || other.starts_with(path);
        if let Some((other, _)) = all[..i].iter().find(|(_, other)| meets(other)) {
            wrong.push(CheckResult::fail(
                key.clone(),
                format!(
                    "{} and the directory of {other} are the same, or one is in the other",
                    path.display()
                ),
                "give log and spools a directory each",
            ));
        }
    }
    wrong
}

/// The path as the system sees it, as far as it is there.
fn absolute(path: &Path) -> PathBuf {
    let full = without_dots(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let there = full.ancestors().find_map(|up| Some((up, std::fs::canonicalize(up).ok()?)));
    match there {
        Some((up, real)) => match full.strip_prefix(up) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => full,
        },
        None => full,
    }
}

/// Without `..`, where nothing is there that could be a link.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !plain.is_symlink() => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let head =
            "[pipeline]\nname = \"p\"\n[log]\nkind = \"embedded\"\npath = \"/nowhere/log\"\n";
        let config: Config = toml::from_str(&format!("{head}{text}")).expect("a configuration");
        check(&config).into_iter().map(|result| result.name).collect()
    }

    fn apply(name: &str, spool: &str, http: &str) -> String {
        format!(
            "[apply.{name}]\nhost = \"h\"\ndatabase = \"d\"\nuser = \"u\"\nspool = {spool:?}\nhttp = {http:?}\n"
        )
    }

    #[test]
    fn what_two_would_use_is_named() {
        let capture = "[capture]\nhttp = \"127.0.0.1:9401\"\n";
        let well =
            apply("a", "/nowhere/a", "127.0.0.1:9402") + &apply("b", "/nowhere/b", "127.0.0.1:0");
        assert_eq!(of(&format!("{capture}{well}")), [""; 0]);
        for http in ["127.0.0.1:9401", "0.0.0.0:9401", "[::]:9401"] {
            let text = format!("{capture}{}", apply("a", "/nowhere/a", http));
            assert_eq!(of(&text), ["apply.a.http"], "{http}");
        }
        for spool in ["/nowhere/log", "/nowhere/x/../log", "/nowhere/log/spool", "/nowhere"] {
            assert_eq!(of(&apply("a", spool, "127.0.0.1:0")), ["apply.a.spool"], "{spool}");
        }
        let twice =
            apply("a", "/nowhere/s", "127.0.0.1:0") + &apply("b", "/nowhere/s/", "127.0.0.1:0");
        assert_eq!(of(&twice), ["apply.b.spool"]);
    }

    #[test]
    fn a_link_is_followed() {
        let top = std::env::temp_dir().join(format!("lockstep-sharing-{}", std::process::id()));
        std::fs::create_dir_all(top.join("real")).unwrap();
        std::os::unix::fs::symlink(top.join("real"), top.join("link")).unwrap();
        let [real, link] = ["real", "link"].map(|name| absolute(&top.join(name).join("spool")));
        std::fs::remove_dir_all(&top).unwrap();
        assert_eq!(real, link);
    }

    #[test]
    fn points_that_cannot_be_read_are_named() {
        assert_eq!(of("[capture]\nstop = \"tomorrow\"\n"), ["capture.stop"]);
        assert_eq!(of("[capture]\nstart = \"yesterday\"\n"), ["capture.start"]);
    }
}
