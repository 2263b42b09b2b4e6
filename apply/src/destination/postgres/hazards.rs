//! What of a target table may lose or alter the rows that are written into it.
//!
//! Some of it a table must not have: it is *wrong*. A rule that fires turns statements into others. An
//! unlogged table is empty after a crash of the server, and a temporary one is another in every session. Rows of
//! a table that inherits are met by statements on its parent, and no key of the parent's tells them
//! apart. A foreign table is committed by another server. A policy hides rows.
//!
//! Triggers fire for apply where they are `ENABLE ALWAYS` or `ENABLE REPLICA`, or all of them where the
//! role may not keep them from firing. One that fires before a row may change the row or drop it, one
//! that fires after it may update it. They are refused like the rest, unless the configuration allows
//! them: then they are *named*, and rows are counted by the statements that meet such a table, so that
//! none is dropped without an error (`run`).
//!
//! What comes while apply runs is found by looking again (`watch`).

use std::collections::HashMap;

use lockstep_common::config::TriggerPolicy;
use tokio_postgres::{Client, Error};

/// Of one table and its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hazards {
    /// What it must not have, for people.
    pub(super) wrong: Vec<String>,
    triggers: Vec<Trigger>,
    rules: Vec<Trigger>,
}

/// A trigger or rule that is not disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trigger {
    /// Its name and table, for people; none for one of PostgreSQL's own, of a foreign key.
    name: Option<String>,
    /// It fires where the session is a replica's.
    in_replica: bool,
    /// It fires where the session is not.
    in_origin: bool,
    /// It may change or drop a row.
    changes: bool,
}

/// Of the tables `$1` and their partitions: table, kind, name, further words.
///
/// It reads the catalogue alone and takes no lock on a table: it is asked again and again while others
/// may be altering one.
const READ: &str = "WITH RECURSIVE tree AS (SELECT root, root AS part FROM unnest($1::oid[]) AS root \
    UNION SELECT root, inhrelid FROM tree JOIN pg_inherits ON inhparent = part \
        JOIN pg_class p ON p.oid = inhparent WHERE p.relkind = 'p'), \
    parts AS (SELECT t.root, t.part, t.part::regclass::text AS name, c.relkind, c.relpersistence \
        FROM tree t JOIN pg_class c ON c.oid = t.part WHERE c.relkind IN ('r', 'p', 'f')) \
    SELECT root, 'trigger', format('%s of %s', quote_ident(tgname), name), tgenabled::text, \
        tgtype::int, tgisinternal \
        FROM parts JOIN pg_trigger ON tgrelid = part WHERE tgenabled <> 'D' \
    UNION ALL SELECT root, 'rule', format('%s of %s', quote_ident(rulename), name), \
        ev_enabled::text, 0, false \
        FROM parts JOIN pg_rewrite ON ev_class = part WHERE ev_enabled <> 'D' \
    UNION ALL SELECT root, 'unlogged', name, '', 0, false FROM parts WHERE relpersistence = 'u' \
    UNION ALL SELECT root, 'temporary', name, '', 0, false FROM parts WHERE relpersistence = 't' \
    UNION ALL SELECT root, 'foreign', name, '', 0, false FROM parts WHERE relkind = 'f' \
    UNION ALL SELECT root, 'child', inhrelid::regclass::text, '', 0, false \
        FROM parts JOIN pg_inherits ON inhparent = part WHERE relkind = 'r' \
    UNION ALL SELECT root, 'policy', root::regclass::text, '', 0, false \
        FROM unnest($1::oid[]) AS root WHERE row_security_active(root) \
    ORDER BY 1, 2, 3";

impl Hazards {
    /// Of one table.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(super) async fn of(client: &Client, table: u32) -> Result<Self, Error> {
        Ok(Hazards::read(client, &[table]).await?.remove(&table).unwrap_or_default())
    }

    /// Of several tables; those without any are not among them.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(super) async fn read(client: &Client, tables: &[u32]) -> Result<HashMap<u32, Self>, Error> {
        let mut all = HashMap::<u32, Hazards>::new();
        for row in client.query(READ, &[&tables]).await? {
            let hazards = all.entry(row.get(0)).or_default();
            let (kind, name, enabled): (&str, &str, &str) = (row.get(1), row.get(2), row.get(3));
            let trigger = || Trigger {
                name: (!row.get::<_, bool>(5)).then(|| name.to_owned()),
                in_replica: matches!(enabled, "A" | "R"),
                in_origin: matches!(enabled, "A" | "O"),
                changes: is_before_row(row.get(4)),
            };
            match kind {
                "trigger" => hazards.triggers.push(trigger()),
                "rule" => hazards.rules.push(trigger()),
                "unlogged" => hazards.wrong.push(format!(
                    "{name} is UNLOGGED, and empty after a crash of PostgreSQL: ALTER TABLE {name} \
                     SET LOGGED"
                )),
                "temporary" => hazards.wrong.push(format!("{name} is a temporary table")),
                "foreign" => hazards.wrong.push(format!(
                    "partition {name} is a foreign table, which is not committed with the checkpoint"
                )),
                "child" => hazards.wrong.push(format!(
                    "{name} inherits from it: no key keeps their rows apart; ALTER TABLE {name} NO \
                     INHERIT"
                )),
                _ => hazards.wrong.push(format!(
                    "row-level security of {name} applies to the role: let it own the table, or give \
                     it BYPASSRLS"
                )),
            }
        }
        Ok(all)
    }

    /// Everything that it must not have, for people, in a session of that kind.
    pub(super) fn refused(&self, replica: bool, policy: TriggerPolicy) -> Vec<String> {
        let triggers = match policy {
            TriggerPolicy::Refuse => self.notice(replica),
            TriggerPolicy::Allow => None,
        };
        self.wrong.iter().cloned().chain(self.rules(replica)).chain(triggers).collect()
    }

    /// What fires in a session of that kind and did not `before`, and may have altered or dropped what
    /// was written meanwhile, for people. Nobody counted for a trigger that nobody knew of.
    pub(super) fn arrived(
        &self,
        before: &Hazards,
        replica: bool,
        policy: TriggerPolicy,
    ) -> Option<String> {
        let alters = |trigger: &&Trigger| trigger.changes || policy == TriggerPolicy::Refuse;
        let triggers = self.triggers.iter().filter(alters).filter(|trigger| {
            let known = |old: &Trigger| old.name == trigger.name && old.fires(replica);
            trigger.fires(replica) && !before.triggers.iter().any(known)
        });
        let rules = self.rules.iter().filter(|rule| {
            let known = |old: &Trigger| old.name == rule.name && old.fires(replica);
            rule.fires(replica) && !before.rules.iter().any(known)
        });
        let names: Vec<&str> = triggers.chain(rules).filter_map(|t| t.name.as_deref()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Whether a trigger fires in a session of that kind.
    pub(super) fn fires(&self, replica: bool) -> bool {
        self.triggers.iter().any(|trigger| trigger.fires(replica))
    }

    /// The rules that fire in a session of that kind, for people.
    pub(super) fn rules(&self, replica: bool) -> Option<String> {
        let firing = self.rules.iter().filter(|rule| rule.fires(replica));
        let names: Vec<&str> = firing.filter_map(|rule| rule.name.as_deref()).collect();
        (!names.is_empty()).then(|| {
            format!("rules turn what apply writes into something else: {}", names.join(", "))
        })
    }

    /// The triggers that somebody made and that fire in a session of that kind, for people.
    pub(super) fn notice(&self, replica: bool) -> Option<String> {
        let firing = |changes: bool| {
            let firing = self.triggers.iter().filter(|t| t.fires(replica) && t.changes == changes);
            firing.filter_map(|t| t.name.as_deref()).collect::<Vec<_>>().join(", ")
        };
        let words = [
            (firing(true), "before each row, and may change or refuse it"),
            (firing(false), "beside what is written"),
        ];
        let words: Vec<String> = words
            .into_iter()
            .filter(|(names, _)| !names.is_empty())
            .map(|(names, how)| format!("{names} ({how})"))
            .collect();
        (!words.is_empty()).then(|| {
            format!(
                "triggers of the target fire for what apply writes, and may alter it: {}; disable what is \
                 not meant for replicated rows",
                words.join("; ")
            )
        })
    }
}

impl Trigger {
    fn fires(&self, replica: bool) -> bool {
        if replica { self.in_replica } else { self.in_origin }
    }
}

/// Of `pg_trigger.tgtype`: bit 0 says for each row, bit 1 before it, bit 6 in place of it.
fn is_before_row(tgtype: i32) -> bool {
    tgtype & 1 != 0 && tgtype & (1 << 1 | 1 << 6) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fires_is_told_by_session_and_kind() {
        let trigger = |name: &str, in_replica, in_origin, changes| Trigger {
            name: (!name.is_empty()).then(|| name.to_owned()),
            in_replica,
            in_origin,
            changes,
        };
        let hazards = Hazards {
            rules: vec![trigger("instead of t", true, true, false)],
            wrong: Vec::new(),
            triggers: vec![
                trigger("usual of t", false, true, true),
                trigger("audit of t", true, true, false),
                trigger("", false, true, false),
            ],
        };
        assert!(hazards.fires(true) && hazards.fires(false));
        let replica = hazards.notice(true).unwrap();
        assert!(replica.contains("audit") && !replica.contains("usual"), "{replica}");
        let origin = hazards.notice(false).unwrap();
        assert!(origin.contains("usual of t (before each row"), "{origin}");
        assert!(hazards.rules(true).unwrap().contains("instead of t"));
        let of_foreign_key = Hazards { triggers: hazards.triggers[2..].to_vec(), ..hazards };
        assert!(of_foreign_key.fires(false) && !of_foreign_key.fires(true));
        assert_eq!(of_foreign_key.notice(false), None);
    }
}
