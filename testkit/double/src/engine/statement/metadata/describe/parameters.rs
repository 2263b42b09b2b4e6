//! `sp_describe_undeclared_parameters`.

use super::{Shape, answer, arguments, bit, declared, int, name, wire};
use crate::engine::batch::Executor;
use crate::engine::bind::{Binder, Scope, Variables, same_name};
use crate::engine::fault::Fault;
use crate::engine::statement::metadata::bind;
use crate::engine::statement::procedure::Called;
use crate::engine::syntax::ast::{
    Batch, Expr, Hints, InsertSource, InsertTarget, ObjectName, Query, QueryBody, StatementKind,
    TableRef,
};
use crate::engine::syntax::variables;
use crate::{Param, SqlError, SqlType, Value};

impl Executor<'_> {
    /// `sp_describe_undeclared_parameters @tsql, @params`
    pub(in crate::engine::statement::metadata) fn describe_parameters(
        &mut self,
        params: &[Param],
    ) -> Result<Called, Fault> {
        let given = bind("sp_describe_undeclared_parameters", &arguments(), params)?;
        let text = given[0].value.to_text().unwrap_or_default();
        let batch = self.session.shared.parse(&text)?;
        let mut known = declared(&given[1].value)?;
        for statement in &batch.statements {
            if let StatementKind::Declare(declarations) = &statement.kind {
                for declaration in declarations {
                    known.declare(&declaration.name, &self.type_of(declaration)?);
                }
            }
        }
        let mut wanted: Vec<String> = Vec::new();
        for variable in variables(&text)? {
            if known.find(&variable).is_none() && !wanted.iter().any(|w| same_name(w, &variable)) {
                wanted.push(variable);
            }
        }
        self.with_env(false, |env, _| {
            let none = Variables::default();
            let deduction = Deduction { binder: Binder::new(env, &none) };
            let mut rows = Vec::new();
            for (ordinal, variable) in (1..).zip(&wanted) {
                let ty = deduction.of(&batch, variable).ok_or_else(|| {
                    SqlError::new(
                        11502,
                        16,
                        1,
                        format!(
                            "The type for parameter '{variable}' cannot be deduced in this context."
                        ),
                    )
                })?;
                rows.push(row(ordinal, variable, &ty));
            }
            answer(env, &shape(), &rows)
        })?;
        Ok(Called { status: 0, outputs: Vec::new() })
    }
}

/// Looks for what stands beside a parameter.
struct Deduction<'e, 's> {
    binder: Binder<'e, 's>,
}

impl Deduction<'_, '_> {
    fn of(&self, batch: &Batch, variable: &str) -> Option<SqlType> {
        batch.statements.iter().find_map(|statement| match &statement.kind {
            StatementKind::Select(query) => self.in_query(query, variable),
            StatementKind::Insert(insert) => {
                let InsertTarget::Table(target) = &insert.target else {
                    return None;
                };
                match &insert.source {
                    InsertSource::Values(rows) => {
                        self.in_values(target, &insert.columns, rows, variable)
                    }
                    InsertSource::Query(query) => self.in_query(query, variable),
                    _ => None,
                }
            }
            StatementKind::Update(update) => {
                let scope = self.scope(&update.from, Some(&update.target))?;
                let assigned = update.assignments.iter().find_map(|assignment| {
                    let column = assignment.column.as_ref()?;
                    let direct = is(&assignment.value, variable);
                    let compound = matches!(&assignment.value, Expr::Binary(_, _, right) if is(right, variable));
                    (direct || compound).then(|| self.column(column, &scope))?
                });
                let top = update.top.as_ref().is_some_and(|top| is(top, variable));
                assigned
                    .or_else(|| top.then_some(SqlType::BigInt))
                    .or_else(|| self.in_condition(update.filter.as_ref()?, variable, &scope))
            }
            StatementKind::Delete(delete) => {
                let scope = self.scope(&delete.from, Some(&delete.target))?;
                let top = delete.top.as_ref().is_some_and(|top| is(top, variable));
                top.then_some(SqlType::BigInt)
                    .or_else(|| self.in_condition(delete.filter.as_ref()?, variable, &scope))
            }
            _ => None,
        })
    }

    fn in_query(&self, query: &Query, variable: &str) -> Option<SqlType> {
        let counts = [&query.offset, &query.fetch];
        if counts.into_iter().flatten().any(|count| is(count, variable)) {
            return Some(SqlType::BigInt);
        }
        self.in_body(&query.body, variable)
    }

    fn in_body(&self, body: &QueryBody, variable: &str) -> Option<SqlType> {
        match body {
            QueryBody::Set(_, left, right) => {
                self.in_body(left, variable).or_else(|| self.in_body(right, variable))
            }
            QueryBody::Select(select) => {
                if select.top.as_ref().is_some_and(|top| is(top, variable)) {
                    return Some(SqlType::BigInt);
                }
                let scope = self.scope(&select.from, None)?;
                let filter = select.filter.iter().chain(&select.having);
                let joined =
                    select.from.iter().find_map(|table| self.in_join(table, variable, &scope));
                joined.or_else(|| {
                    filter.into_iter().find_map(|part| self.in_condition(part, variable, &scope))
                })
            }
        }
    }

    fn in_join(&self, table: &TableRef, variable: &str, scope: &Scope<'_>) -> Option<SqlType> {
        match table {
            TableRef::Join { left, right, on, .. } => self
                .in_join(left, variable, scope)
                .or_else(|| self.in_join(right, variable, scope))
                .or_else(|| self.in_condition(on.as_ref()?, variable, scope)),
            TableRef::Derived { query, .. } => self.in_query(query, variable),
            _ => None,
        }
    }

    fn in_values(
        &self,
        target: &ObjectName,
        columns: &[String],
        rows: &[Vec<Expr>],
        variable: &str,
    ) -> Option<SqlType> {
        let scope = self.scope(&[], Some(target))?;
        let table = self.binder.object(target).ok()?.table;
        let at = rows.iter().find_map(|row| row.iter().position(|value| is(value, variable)))?;
        let name = match columns.is_empty() {
            false => columns.get(at)?.clone(),
            true => {
                let own =
                    |c: &&crate::storage::ColumnDef| c.identity.is_none() && c.computed.is_none();
                table.columns.iter().filter(own).nth(at)?.name.clone()
            }
        };
        self.column(&[name], &scope)
    }

    /// FROM, or a target that is not in it.
    fn scope(&self, from: &[TableRef], target: Option<&ObjectName>) -> Option<Scope<'static>> {
        let mut scope = Scope::inside(None);
        let alone;
        let tables = match target {
            Some(name) if from.is_empty() => {
                alone =
                    [TableRef::Named { name: name.clone(), alias: None, hints: Hints::default() }];
                &alone[..]
            }
            _ => from,
        };
        self.binder.from(tables, &mut scope).ok()?;
        Some(scope)
    }

    fn column(&self, path: &[String], scope: &Scope<'_>) -> Option<SqlType> {
        self.binder.scalar(&Expr::Column(path.to_vec()), scope).ok()?.ty
    }

    fn in_condition(&self, expr: &Expr, variable: &str, scope: &Scope<'_>) -> Option<SqlType> {
        let of = |other: &Expr| self.binder.scalar(other, scope).ok()?.ty;
        let beside = |value: &Expr, others: &[&Expr]| {
            if others.iter().any(|other| is(other, variable)) {
                return of(value);
            }
            let known = others.iter().find(|other| !matches!(other, Expr::Variable(_)))?;
            is(value, variable).then(|| of(known))?
        };
        match expr {
            Expr::And(left, right) | Expr::Or(left, right) => self
                .in_condition(left, variable, scope)
                .or_else(|| self.in_condition(right, variable, scope)),
            Expr::Not(inner) => self.in_condition(inner, variable, scope),
            Expr::Compare(_, left, right) => {
                beside(left, &[right]).or_else(|| beside(right, &[left]))
            }
            Expr::Between { value, low, high, .. } => beside(value, &[low, high]),
            Expr::InList(value, list, _) => beside(value, &list.iter().collect::<Vec<_>>()),
            Expr::Like { value, pattern, .. } => beside(value, &[pattern]),
            _ => None,
        }
    }
}

fn is(expr: &Expr, variable: &str) -> bool {
    matches!(expr, Expr::Variable(name) if name.eq_ignore_ascii_case(variable))
}

fn shape() -> Vec<Shape> {
    vec![
        ("parameter_ordinal", SqlType::Int, false),
        ("name", name(), false),
        ("suggested_system_type_id", SqlType::Int, false),
        ("suggested_system_type_name", SqlType::NVarChar(Some(256)), true),
        ("suggested_max_length", SqlType::SmallInt, false),
        ("suggested_precision", SqlType::TinyInt, false),
        ("suggested_scale", SqlType::TinyInt, false),
        ("suggested_user_type_id", SqlType::Int, true),
        ("suggested_user_type_database", name(), true),
        ("suggested_user_type_schema", name(), true),
        ("suggested_user_type_name", name(), true),
        ("suggested_assembly_qualified_type_name", SqlType::NVarChar(Some(4000)), true),
        ("suggested_xml_collection_id", SqlType::Int, true),
        ("suggested_xml_collection_database", name(), true),
        ("suggested_xml_collection_schema", name(), true),
        ("suggested_xml_collection_name", name(), true),
        ("suggested_is_xml_document", SqlType::Bit, false),
        ("suggested_is_case_sensitive", SqlType::Bit, false),
        ("suggested_is_fixed_length_clr_type", SqlType::Bit, false),
        ("suggested_is_input", SqlType::Bit, false),
        ("suggested_is_output", SqlType::Bit, false),
        ("formal_parameter_name", name(), true),
        ("suggested_tds_type_id", SqlType::Int, false),
        ("suggested_tds_length", SqlType::Int, false),
    ]
}

fn row(ordinal: i32, variable: &str, ty: &SqlType) -> Vec<Value> {
    let (tds_type, tds_length) = wire(ty, true);
    let mut row = vec![
        int(ordinal),
        Value::text(variable),
        int(ty.system_type_id()),
        Value::text(&ty.to_string()),
        Value::SmallInt(ty.max_length()),
        Value::TinyInt(ty.precision()),
        Value::TinyInt(ty.scale()),
    ];
    row.extend(std::iter::repeat_n(Value::Null, 9));
    row.extend([bit(false), bit(false), bit(false), bit(true), bit(false)]);
    row.extend([Value::Null, int(tds_type), int(tds_length)]);
    row
}
