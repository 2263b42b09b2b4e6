//! Collations that compare keys as the source does, as far as ICU can.
//!
//! SQL Server's collation `…_CI_AS` holds `a` and `A` for equal, and so does a unique index under it.
//! PostgreSQL has that in *nondeterministic* collations of ICU: equality follows the collation's
//! strength (<https://www.postgresql.org/docs/15/collation.html>). Levels are those of Unicode's
//! collation algorithm: base letters, accents, case and width.
//!
//! | source | ICU |
//! | --- | --- |
//! | `_CI_AS` | `und-u-ks-level2`: case and width do not count |
//! | `_CI_AI` | `und-u-ks-level1`: accents neither |
//! | `_CS_AI` | `und-u-ks-level1-kc-true`: case counts, accents do not |
//! | `_CS_AS`, `_BIN`, `_BIN2` | none: by their characters |
//! | with `_KS`, `_WS` or `_VSS` | none: what these tell apart, the levels above do not |
//!
//! The two are not one: SQL Server passes over trailing blanks, and its tables of letters are older.
//! Where ICU tells apart what the source does not, keys are compared more exactly, which is never
//! wrong: the stream carries each spelling. Where ICU makes equal what the source tells apart, the
//! target refuses the second row, with an error. Neither is silent.

use tokio_postgres::{Client, Error};

/// Names, in schema `lockstep`, and ICU's locales.
const ALL: &[(&str, &str)] = &[
    ("lockstep_ci", "und-u-ks-level2"),
    ("lockstep_ai", "und-u-ks-level1"),
    ("lockstep_cs_ai", "und-u-ks-level1-kc-true"),
];

/// The collation, with its schema, that stands for one of the source; none where text is compared by
/// its characters.
pub(super) fn of(source: &str) -> Option<&'static str> {
    let upper = source.to_ascii_uppercase();
    let parts: Vec<&str> = upper.split('_').collect();
    let has = |part: &str| parts.contains(&part);
    if ["BIN", "BIN2", "KS", "WS", "VSS"].into_iter().any(has) {
        return None;
    }
    match (has("CI"), has("AI")) {
        (true, false) => Some("lockstep.lockstep_ci"),
        (true, true) => Some("lockstep.lockstep_ai"),
        (false, true) => Some("lockstep.lockstep_cs_ai"),
        (false, false) => None,
    }
}

/// Statements that make them where they are absent.
pub(super) fn statements() -> Vec<String> {
    let create = |(name, locale): &(&str, &str)| {
        format!(
            "CREATE COLLATION IF NOT EXISTS lockstep.{name} \
             (provider = icu, locale = '{locale}', deterministic = false)"
        )
    };
    ALL.iter().map(create).collect()
}

/// Whether all of them are there.
pub(super) async fn present(client: &Client) -> Result<bool, Error> {
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    let found: i64 = client
        .query_one(
            "SELECT count(*) FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace \
             WHERE n.nspname = 'lockstep' AND c.collname = ANY ($1) AND NOT c.collisdeterministic",
            &[&names],
        )
        .await?
        .get(0);
    Ok(usize::try_from(found).is_ok_and(|found| found == ALL.len()))
}

/// Makes them where they are absent, which needs CREATE on schema `lockstep`.
///
/// # Errors
/// When the target refuses.
pub(super) async fn create(client: &Client) -> Result<(), Error> {
    if present(client).await? {
        return Ok(());
    }
    client.batch_execute(&statements().join("; ")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_counts() {
        let cases = [
            ("SQL_Latin1_General_CP1_CI_AS", Some("lockstep.lockstep_ci")),
            ("Latin1_General_100_CI_AI_SC_UTF8", Some("lockstep.lockstep_ai")),
            ("Latin1_General_CS_AI", Some("lockstep.lockstep_cs_ai")),
            ("Latin1_General_CS_AS", None),
            ("Latin1_General_100_BIN2", None),
            ("Latin1_General_BIN", None),
            ("Latin1_General_100_BIN2_UTF8", None),
            ("Japanese_CI_AS_KS_WS", None),
        ];
        for (source, collation) in cases {
            assert_eq!(of(source), collation, "{source}");
        }
    }
}
