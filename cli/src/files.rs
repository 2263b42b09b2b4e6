//! `lockstep check` of files that hold secrets: whether others can read them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lockstep_common::config::{Config, Log};
use lockstep_common::service::check::CheckResult;

/// What group and others may do.
const OTHERS: u32 = 0o077;

/// Looks at the configuration file, if it has a secret in it, and at every password file.
pub(crate) fn check(path: &Path, config: &Config) -> Vec<CheckResult> {
    let files = config.apply.values().filter_map(|apply| apply.password_file.as_deref());
    let files = files.chain(config.source.as_ref().and_then(|s| s.password_file.as_deref()));
    let configuration = has_secret(config).then_some(path);
    configuration.into_iter().chain(files).filter_map(look).collect()
}

fn has_secret(config: &Config) -> bool {
    config.source.as_ref().is_some_and(|source| source.password.is_some())
        || config.apply.values().any(|apply| apply.password.is_some())
        || matches!(&config.log, Log::Kafka(kafka) if !kafka.properties.is_empty())
}

/// None for a file that cannot be looked at: whoever needs it says so.
fn look(path: &Path) -> Option<CheckResult> {
    let name = format!("file {}", path.display());
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    Some(if mode & OTHERS == 0 {
        CheckResult::pass(name, "only its owner can read it")
    } else {
        CheckResult::warn(
            name,
            format!("holds a secret, and others may read or write it (mode {mode:03o})"),
            format!("chmod 600 {}, with the service's user as its owner", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use lockstep_common::service::check::Verdict;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_named() {
        let path = std::env::temp_dir().join(format!("lockstep-file-{}", std::process::id()));
        std::fs::write(&path, "secret").unwrap();
        let verdict = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let result = look(&path).unwrap();
            assert!(result.name.contains("lockstep-file-"), "{}", result.name);
            result.verdict
        };
        assert_eq!(verdict(0o600), Verdict::Pass);
        assert_eq!(verdict(0o400), Verdict::Pass);
        for mode in [0o640, 0o604, 0o660, 0o601, 0o777] {
            assert_eq!(verdict(mode), Verdict::Warn, "{mode:o}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(look(&path).is_none());
    }
}
