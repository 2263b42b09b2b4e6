//! Table variables in FROM.

use std::rc::Rc;

use super::join::{Leaf, Tree};
use super::{Binder, Bound, Scope, Source, columns_of};
use crate::engine::plan::Virtual;

impl Binder<'_, '_> {
    /// Adds a table variable to the scope.
    ///
    /// # Errors
    /// 1087.
    pub(super) fn table_variable(
        &self,
        name: &str,
        alias: Option<&str>,
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        let variable = Rc::clone(self.variables.table(name)?);
        let slot = scope.sources.len();
        let columns = columns_of(variable.table());
        let width = columns.len();
        scope.sources.push(Source {
            name: alias.unwrap_or(name).to_owned(),
            schema: None,
            slot,
            columns,
            unreadable: Vec::new(),
            used: Default::default(),
            stored: None,
        });
        let leaf = Leaf::Virtual(Virtual {
            slot,
            producer: Box::new(move |_, _| Ok(Box::new(variable.rows().into_iter().map(Ok)))),
            arguments: Vec::new(),
            by_first: false,
            filter: None,
        });
        Ok(Tree::Leaf(leaf, width))
    }
}
