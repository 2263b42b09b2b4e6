//! Table-valued functions in FROM: the user's own, and those of change data capture.

use super::join::{Leaf, Tree};
use super::{Binder, Bound, Scope, Source, SourceColumn, invalid_object, types};
use crate::SqlError;
use crate::engine::expr::Typed;
use crate::engine::plan::Virtual;
use crate::engine::syntax::ast::{Expr, ObjectName};

impl Binder<'_, '_> {
    /// Adds a table-valued function to the scope.
    ///
    /// # Errors
    /// 208, 313, 8144; names and types.
    pub(super) fn table_function(
        &self,
        name: &ObjectName,
        arguments: &[Expr],
        alias: Option<&str>,
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        let name = &self.placed(name);
        if let Some(tree) = self.my_permissions(name, arguments, alias, scope)? {
            return Ok(tree);
        }
        if let Some(tree) = self.user_function(name, arguments, alias, scope)? {
            return Ok(tree);
        }
        let schema = name.schema.as_deref().unwrap_or("dbo");
        let full = format!("{schema}.{}", name.name);
        let elsewhere = self.env.elsewhere(name.database.as_deref())?;
        let found = self.env.with_capture_of(elsewhere.as_ref(), |context| {
            crate::cdc::table_function(context, &full)
        })?;
        let function = found.ok_or_else(|| invalid_object(name))?;
        if arguments.len() > function.parameters.len() {
            return Err(SqlError::new(
                8144,
                16,
                3,
                format!("Procedure or function {full} has too many arguments specified."),
            ));
        }
        let mut bound = Vec::new();
        for (at, parameter) in function.parameters.iter().enumerate() {
            let value = match (arguments.get(at), &parameter.default) {
                (Some(Expr::Default), Some(default)) => {
                    Typed::constant(default.clone(), parameter.ty.clone())
                }
                (Some(value), _) => types::implicit(self.scalar(value, scope)?, &parameter.ty)?,
                (None, _) => {
                    return Err(SqlError::new(
                        313,
                        16,
                        3,
                        format!(
                            "An insufficient number of arguments were supplied for the procedure or function {full}."
                        ),
                    ));
                }
            };
            bound.push(value.node);
        }
        let masks = self.masks_of_function(&function.table, elsewhere.as_ref());
        let columns: Vec<SourceColumn> = function
            .columns
            .iter()
            .map(|column| SourceColumn {
                name: column.name.clone(),
                ty: Some(column.ty.clone()),
                nullable: column.nullable,
                origin: column.origin,
                label: Some(column.label).filter(|label| !label.is_default()),
                mask: masks
                    .iter()
                    .find(|(name, _)| *name == column.name)
                    .map(|known| known.1.clone()),
            })
            .collect();
        let width = columns.len();
        let slot = scope.sources.len();
        scope.sources.push(Source {
            name: alias.unwrap_or(&name.name).to_owned(),
            schema: None,
            slot,
            columns,
            unreadable: Vec::new(),
            used: Default::default(),
            stored: None,
        });
        let leaf = Leaf::Virtual(Virtual {
            slot,
            producer: Box::new(move |env, arguments| {
                let rows = env.with_capture_of(elsewhere.as_ref(), |context| {
                    function.open(context, arguments)
                })?;
                Ok(Box::new(rows))
            }),
            arguments: bound,
            by_first: false,
            filter: None,
        });
        Ok(Tree::Leaf(leaf, width))
    }
}
