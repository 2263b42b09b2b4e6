//! Syntax to plans: names, types, permissions, access paths.

mod access;
mod aggregate;
mod condition;
mod from;
mod function;
mod join;
mod masking;
mod object;
mod permissions;
mod policy;
mod project;
mod query;
mod recursive;
mod scalar;
mod sequence;
mod table_function;
mod table_variable;
mod through;
pub mod types;
mod view;
mod window;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use super::collation::Label;
use super::env::Env;
use super::expr::{Node, Place, Typed};
use super::mask::Mask;
use super::plan::{Aggregate, WindowFunction};
use super::syntax::ast::Cte;
use super::table_variable::TableVariable;
use crate::{Origin, SqlError, SqlType};

pub use aggregate::{has_subquery, is_volatile};
pub use condition::comparison;
pub use from::columns_of;
pub use join::filtered;
pub use join::{Leaf, Tree, plan as plan_from};
pub use masking::{mask_of, masked, masks};
pub use object::{Target, invalid_object};
pub use project::{label_of, origin_of};
pub use query::BoundSelect;
pub use scalar::choice;
pub use through::Through;

/// Result of binding.
pub type Bound<T> = Result<T, SqlError>;

/// The variables of a batch: names and types, by position.
#[derive(Default)]
pub struct Variables {
    declared: Vec<(String, SqlType)>,
    tables: Vec<Rc<TableVariable>>,
}

impl Variables {
    /// Declares one, or finds it where a loop declares it again.
    pub fn declare(&mut self, name: &str, ty: &SqlType) -> usize {
        if let Some((at, _)) = self.find(name) {
            self.declared[at].1 = ty.clone();
            return at;
        }
        self.declared.push((name.to_owned(), ty.clone()));
        self.declared.len() - 1
    }

    /// The same table variables, and no others.
    pub fn with_tables_of(other: &Variables) -> Variables {
        Variables { declared: Vec::new(), tables: other.tables.clone() }
    }

    /// All but the tables, by position.
    pub fn scalars(&self) -> impl Iterator<Item = &(String, SqlType)> {
        self.declared.iter()
    }

    /// Name and type of the variable in a position that binding gave.
    pub fn at(&self, at: usize) -> (&str, &SqlType) {
        let (name, ty) = &self.declared[at];
        (name, ty)
    }

    /// Declares a table variable. Where a loop comes to the declaration again, the variable keeps
    /// its rows.
    pub fn declare_table(&mut self, table: TableVariable) {
        if self.tables.iter().all(|known| !known.is_named(table.name())) {
            self.tables.push(Rc::new(table));
        }
    }

    /// A table variable, or error 1087.
    ///
    /// # Errors
    /// 1087.
    pub fn table(&self, name: &str) -> Bound<&Rc<TableVariable>> {
        self.tables.iter().find(|table| table.is_named(name)).ok_or_else(|| {
            SqlError::new(1087, 15, 2, format!("Must declare the table variable \"{name}\"."))
        })
    }

    /// Position and type of a variable.
    pub fn find(&self, name: &str) -> Option<(usize, &SqlType)> {
        let at = self.declared.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some((at, &self.declared[at].1))
    }

    /// The same, or error 137.
    ///
    /// # Errors
    /// 137.
    pub fn get(&self, name: &str) -> Bound<(usize, &SqlType)> {
        self.find(name).ok_or_else(|| {
            SqlError::new(137, 15, 2, format!("Must declare the scalar variable \"{name}\"."))
        })
    }
}

/// A source of columns in scope.
#[derive(Clone)]
pub struct Source {
    /// Alias or table name.
    pub name: String,
    /// Schema, for tables without an alias.
    pub schema: Option<String>,
    /// Its row in a tuple.
    pub slot: usize,
    /// Its columns, in the order of its rows.
    pub columns: Vec<SourceColumn>,
    /// Columns that the user may not read, by position, with the error of reading them.
    pub unreadable: Vec<(usize, SqlError)>,
    /// Positions of the columns that the statement reads; behind them the row's number.
    pub used: Used,
    /// The table, where it is a stored one of this database.
    pub stored: Option<crate::storage::ObjectId>,
}

/// Columns of a source that are read, which is known when all of a statement is bound.
pub type Used = Rc<RefCell<BTreeSet<usize>>>;

/// A column in scope.
#[derive(Clone)]
pub struct SourceColumn {
    /// Name.
    pub name: String,
    /// Type; none for a bare NULL.
    pub ty: Option<SqlType>,
    /// Whether NULL may come.
    pub nullable: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Collation of a stored column.
    pub label: Option<Label>,
    /// How it is masked for the user.
    pub mask: Option<Mask>,
}

/// What a grouped query collects while its select list is bound.
#[derive(Default)]
pub struct Grouping {
    /// GROUP BY
    pub keys: Vec<Typed>,
    /// Which of them each grouping set keeps; none for one set of all.
    pub sets: Vec<Vec<bool>>,
    /// Aggregates met so far.
    pub aggregates: Vec<Aggregate>,
    /// Slot of the groups' rows.
    pub slot: usize,
}

/// The names one query sees.
#[derive(Default)]
pub struct Scope<'a> {
    /// Its sources.
    pub sources: Vec<Source>,
    parent: Option<&'a Scope<'a>>,
    /// Whether queries inside see this query's sources: those in FROM do not, unless applied.
    transparent: Cell<bool>,
    /// Whether nothing around it is seen from inside: the parameters of a function.
    sealed: bool,
    /// What is read of the queries around, seen from here.
    outer: RefCell<Vec<Place>>,
    grouping: RefCell<Option<Grouping>>,
    windows: RefCell<Option<(usize, Vec<WindowFunction>)>>,
}

impl<'a> Scope<'a> {
    /// A scope inside another.
    pub fn inside(parent: Option<&'a Scope<'a>>) -> Scope<'a> {
        Scope { parent, transparent: Cell::new(true), ..Scope::default() }
    }

    /// The same sources but for some; nothing else of the scope.
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> Scope<'static> {
        let sources = self.sources.iter().filter(|source| keep(source.slot)).cloned().collect();
        Scope { sources, ..Scope::inside(None) }
    }

    /// Adds a source of one row in the next slot.
    pub fn add_table(&mut self, name: &str, columns: Vec<SourceColumn>) {
        let slot = self.sources.len();
        self.sources.push(Source {
            name: name.to_owned(),
            schema: None,
            slot,
            columns,
            unreadable: Vec::new(),
            used: Default::default(),
            stored: None,
        });
    }

    /// Finds a column; notes what queries around are read.
    fn resolve(&self, parts: &[String]) -> Bound<Typed> {
        let mut scope = self;
        let mut depth = 0;
        loop {
            let visible = scope.transparent.get() || depth == 0;
            if visible && let Some((slot, ordinal, column)) = scope.find(parts)? {
                // The rows of a grouped query are gone where its groups are looked at.
                if depth > 0 && scope.grouping.borrow().is_some() {
                    return Err(unsupported("correlated subquery in a grouped query"));
                }
                let typed = Typed {
                    node: Node::Column(Place { depth, source: slot, ordinal }),
                    ty: column.ty.clone(),
                    nullable: column.nullable,
                };
                self.note_outer(depth, slot, ordinal);
                return Ok(typed);
            }
            match scope.parent.filter(|_| !scope.sealed) {
                Some(parent) => scope = parent,
                None => return Err(self.unknown_column(parts)),
            }
            depth += 1;
        }
    }

    /// Collation of a string column by name; none for anything else.
    fn label_of(&self, parts: &[String]) -> Option<Label> {
        let mut scope = self;
        loop {
            if let Ok(Some((_, _, column))) = scope.find(parts) {
                return column.ty.as_ref().filter(|ty| ty.is_text()).and(column.label);
            }
            scope = scope.parent?;
        }
    }

    /// Error 207 where the source is seen from here, 4104 where it is not.
    fn unknown_column(&self, parts: &[String]) -> SqlError {
        let (name, qualifier) = match parts.split_last() {
            Some((name, qualifier)) => (name.as_str(), qualifier),
            None => ("", parts),
        };
        let mut scope = Some(self);
        while let Some(around) = scope {
            let visible = around.transparent.get() || std::ptr::eq(around, self);
            let answers = || around.sources.iter().any(|source| source.answers_to(qualifier));
            if qualifier.is_empty() || visible && answers() {
                return SqlError::new(207, 16, 1, format!("Invalid column name '{name}'."));
            }
            scope = around.parent;
        }
        SqlError::new(
            4104,
            16,
            1,
            format!("The multi-part identifier \"{}\" could not be bound.", parts.join(".")),
        )
    }

    fn note_outer(&self, depth: usize, source: usize, ordinal: usize) {
        let mut scope = self;
        for left in (1..=depth).rev() {
            scope.outer.borrow_mut().push(Place { depth: left, source, ordinal });
            match scope.parent {
                Some(parent) => scope = parent,
                None => return,
            }
        }
    }

    fn find(&self, parts: &[String]) -> Bound<Option<(usize, usize, &SourceColumn)>> {
        let Some((name, qualifier)) = parts.split_last() else {
            return Ok(None);
        };
        let mut found = None;
        for source in self.sources.iter().filter(|source| source.answers_to(qualifier)) {
            for (ordinal, column) in source.columns.iter().enumerate() {
                if !same_name(&column.name, name) {
                    continue;
                }
                if found.is_some() {
                    return Err(SqlError::new(
                        209,
                        16,
                        1,
                        format!("Ambiguous column name '{name}'."),
                    ));
                }
                if let Some((_, error)) = source.unreadable.iter().find(|(at, _)| *at == ordinal) {
                    return Err(error.clone());
                }
                source.used.borrow_mut().insert(ordinal);
                found = Some((source.slot, ordinal, column));
            }
        }
        Ok(found)
    }
}

impl Source {
    /// Whether `qualifier` (table, schema.table or database.schema.table) means this source.
    pub fn answers_to(&self, qualifier: &[String]) -> bool {
        match qualifier {
            [] => true,
            [name] => same_name(&self.name, name),
            [.., schema, name] => {
                same_name(&self.name, name)
                    && self.schema.as_ref().is_some_and(|own| same_name(own, schema))
            }
        }
    }
}

/// Whether two identifiers are the same.
pub fn same_name(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right) || crate::storage::same_name(left, right)
}

/// Binds one statement.
pub struct Binder<'e, 's> {
    /// Its environment.
    pub env: &'e Env<'s>,
    /// The batch's variables.
    pub variables: &'e Variables,
    /// Common table expressions in force, innermost last.
    ctes: RefCell<Vec<Cte>>,
    /// Whether the next SELECT may have INTO.
    takes_into: Cell<bool>,
    /// The view whose query is being bound.
    within: RefCell<Option<view::Within>>,
    /// Recursive common table expressions whose members are being bound.
    recursions: RefCell<Vec<recursive::Recursion>>,
    /// MAXRECURSION, where given.
    max_recursion: Cell<Option<u32>>,
    /// Stored tables that were named.
    read: Rc<RefCell<Vec<Target>>>,
}

impl<'e, 's> Binder<'e, 's> {
    /// A binder.
    pub fn new(env: &'e Env<'s>, variables: &'e Variables) -> Self {
        Binder {
            env,
            variables,
            ctes: RefCell::default(),
            takes_into: Cell::new(false),
            within: RefCell::default(),
            recursions: RefCell::default(),
            max_recursion: Cell::new(None),
            read: Rc::default(),
        }
    }
}

impl Binder<'_, '_> {
    /// The stored tables that have been named, also through views.
    pub fn tables_read(&self) -> Vec<Target> {
        self.read.borrow().clone()
    }

    /// Puts the common table expressions before a change in force.
    pub fn take_ctes(&self, ctes: &[Cte], max_recursion: Option<u32>) {
        self.ctes.borrow_mut().extend(ctes.iter().cloned());
        self.max_recursion.set(max_recursion.or(self.max_recursion.get()));
    }

    /// Whether a name is a common table expression's.
    pub fn is_cte(&self, name: &super::syntax::ast::ObjectName) -> bool {
        name.schema.is_none()
            && name.database.is_none()
            && self.ctes.borrow().iter().any(|cte| same_name(&cte.name, &name.name))
    }

    /// Lets the next SELECT that is bound have INTO, which its caller sees to.
    pub fn take_into(&self) {
        self.takes_into.set(true);
    }
}

/// Error 102 for what parses but is not covered.
pub fn unsupported(what: &str) -> SqlError {
    SqlError::new(
        102,
        15,
        1,
        format!("Incorrect syntax near '{what}'. This server does not support it."),
    )
}
