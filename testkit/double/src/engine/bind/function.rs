//! Inline table-valued functions: a query over a row of parameters, bound again each time it is
//! named, as a view is.

use std::rc::Rc;

use super::view::{Within, stored_columns};
use super::{
    Binder, Bound, Scope, Source, SourceColumn, Target, Tree, Variables, invalid_object, types,
    unsupported,
};
use crate::SqlError;
use crate::engine::expr::{Node, Place, Typed};
use crate::engine::plan::{Join, Loop, OutputColumn, RowPlan, TuplePlan};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{
    Ddl, Expr, Hints, Module, ModuleContent, ObjectName, Query, StatementKind,
};
use crate::storage::{ColumnDef, ParameterDef};

/// Slot of the row of parameters, and of the query's rows.
const PARAMETERS: usize = 0;
const BODY: usize = 1;
/// What the row of parameters is called; no name in a query can be that.
const NAME: &str = "@";

impl Binder<'_, '_> {
    /// Whether variables are parameters of a function.
    pub(super) fn in_function(&self) -> bool {
        self.within.borrow().as_ref().is_some_and(|within| within.function)
    }

    /// A parameter of the function around.
    ///
    /// # Errors
    /// 137.
    pub(super) fn parameter(&self, name: &str, scope: &Scope<'_>) -> Bound<Typed> {
        scope.resolve(&[NAME.to_owned(), name.to_owned()]).map_err(|_| {
            SqlError::new(137, 15, 2, format!("Must declare the scalar variable \"{name}\"."))
        })
    }

    /// Adds a function of the user's to the scope, if the name is one's.
    ///
    /// # Errors
    /// 229, 313, 8144; those of binding.
    pub(super) fn user_function(
        &self,
        name: &ObjectName,
        arguments: &[Expr],
        alias: Option<&str>,
        scope: &mut Scope<'_>,
    ) -> Bound<Option<Tree>> {
        let target = match self.object(name) {
            Ok(target) if target.table.is_function() => target,
            Ok(_) => return Err(invalid_object(name)),
            Err(_) => return Ok(None),
        };
        self.check(&target, Permission::Select)?;
        let text = target.table.module.as_ref().map(|module| module.definition.as_str());
        let batch = self.env.shared.parse(text.unwrap_or_default())?;
        let Some(StatementKind::Ddl(Ddl::Module(module))) =
            batch.statements.first().map(|statement| &statement.kind)
        else {
            return Err(unsupported("a function"));
        };
        let ModuleContent::Function { parameters, query, .. } = &module.content else {
            return Err(unsupported("a function"));
        };
        check_arity(&target, arguments.len(), parameters.len())?;
        let (found, plan) = self.applied(&target, parameters, arguments, query, scope)?;
        let stored = &target.table.columns;
        let same = found.len() == stored.len()
            && found
                .iter()
                .zip(stored)
                .all(|(own, known)| super::same_name(&own.name, &known.name));
        if !same {
            return Err(unsupported("a function whose tables have changed"));
        }
        let columns = super::from::named_columns(found, alias.unwrap_or(&name.name), &[])?;
        Ok(Some(self.push_derived(alias.unwrap_or(&name.name), columns, plan, scope)))
    }

    /// The query over the row of parameters.
    fn applied(
        &self,
        target: &Target,
        parameters: &[ParameterDef],
        arguments: &[Expr],
        query: &Query,
        scope: &Scope<'_>,
    ) -> Bound<(Vec<OutputColumn>, RowPlan)> {
        let mut around = Scope::inside(Some(scope));
        let mut row = Vec::new();
        let mut masks = Vec::new();
        {
            let given = Scope::inside(Some(&around));
            for (argument, parameter) in arguments.iter().zip(parameters) {
                let value = types::implicit(self.scalar(argument, &given)?, &parameter.ty)?;
                masks.push(super::mask_of(&value.node, &given, None));
                row.push(value.node);
            }
        }
        around.sources.push(parameters_of(parameters));
        for (column, mask) in around.sources[PARAMETERS].columns.iter_mut().zip(masks) {
            column.mask = mask;
        }
        around.sealed = true;
        let database = target.elsewhere.as_ref().map(|database| database.name());
        let within = self.deeper(database, &target.table.schema, Hints::default())?;
        let (columns, body) = self.body_of(query, within, &around)?;
        let width = columns.len();
        let items = (0..width)
            .map(|ordinal| Node::Column(Place { depth: 0, source: BODY, ordinal }))
            .collect();
        let derived = |slot, plan| Box::new(TuplePlan::Derived { slot, plan: Box::new(plan) });
        let input = Box::new(TuplePlan::Loop(Loop {
            left: derived(PARAMETERS, RowPlan::Values(vec![row])),
            right: derived(BODY, body),
            join: Join::Inner,
            on: None,
            right_slots: vec![(BODY, width)],
        }));
        Ok((columns, RowPlan::Project { input, slots: BODY + 1, items }))
    }

    fn body_of(
        &self,
        query: &Query,
        mut within: Within,
        around: &Scope<'_>,
    ) -> Bound<(Vec<OutputColumn>, RowPlan)> {
        let none = Variables::default();
        let inner = Binder { read: Rc::clone(&self.read), ..Binder::new(self.env, &none) };
        within.function = true;
        inner.within.replace(Some(within));
        let (bound, _) = inner.nested_query(query, around)?;
        Ok((bound.columns, bound.plan))
    }

    /// The columns that a function will have.
    ///
    /// # Errors
    /// Those of binding its query; 4506, 4511.
    pub fn function_columns(
        &self,
        module: &Module,
        schema: &str,
        parameters: &[ParameterDef],
        query: &Query,
    ) -> Bound<Vec<ColumnDef>> {
        super::from::check_order(query)?;
        let mut around = Scope::inside(None);
        around.sources.push(parameters_of(parameters));
        around.sealed = true;
        let within = self.deeper(None, schema, Hints::default())?;
        let (found, _) = self.body_of(query, within, &around)?;
        stored_columns(&module.name.name, &[], found)
    }
}

fn parameters_of(parameters: &[ParameterDef]) -> Source {
    let column = |parameter: &ParameterDef| SourceColumn {
        name: parameter.name.clone(),
        ty: Some(parameter.ty.clone()),
        nullable: true,
        origin: crate::Origin::Expression,
        label: None,
        mask: None,
    };
    Source {
        name: NAME.to_owned(),
        schema: None,
        slot: PARAMETERS,
        columns: parameters.iter().map(column).collect(),
        unreadable: Vec::new(),
        used: Default::default(),
        stored: None,
    }
}

fn check_arity(target: &Target, given: usize, wanted: usize) -> Bound<()> {
    let name = target.table.full_name();
    match given.cmp(&wanted) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(SqlError::new(
            313,
            16,
            3,
            format!(
                "An insufficient number of arguments were supplied for the procedure or function {name}."
            ),
        )),
        std::cmp::Ordering::Greater => Err(SqlError::new(
            8144,
            16,
            3,
            format!("Procedure or function {name} has too many arguments specified."),
        )),
    }
}
