//! `sp_describe_first_result_set` and `sp_describe_undeclared_parameters`: what a text would
//! answer, and what it leaves to be declared, without running it.
//!
//! The first result is told where it does not depend on what runs before it: a text that comes to
//! control flow or to EXEC first is refused. Parameters get the type of the column that they are
//! compared with, assigned to or inserted into; for one that stands anywhere else the type cannot be
//! deduced here (11502), which SQL Server sometimes can.

mod parameters;

use super::{Parameter, bind};
use crate::engine::batch::Executor;
use crate::engine::bind::{Binder, Variables, unsupported};
use crate::engine::collation::Label;
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::OutputColumn;
use crate::engine::statement::declared as resolved;
use crate::engine::statement::first_select;
use crate::engine::statement::procedure::Called;
use crate::engine::syntax::ast::{Batch, Output, StatementKind};
use crate::engine::syntax::parse_declarations;
use crate::{Column, Origin, Param, SqlError, SqlType, Value};

/// A column of an answer: name, type, whether NULL may come.
type Shape = (&'static str, SqlType, bool);

fn name() -> SqlType {
    SqlType::NVarChar(Some(128))
}

fn arguments() -> Vec<Parameter> {
    vec![
        ("@tsql", SqlType::NVarChar(None), None),
        ("@params", SqlType::NVarChar(None), Some(Value::Null)),
    ]
}

/// Declares what a text's parameter list does.
fn declared(params: &Value) -> Result<Variables, SqlError> {
    let mut variables = Variables::default();
    if let Some(list) = params.to_text() {
        for (declaration, _) in parse_declarations(&list)? {
            variables.declare(&declaration.name, &declaration.ty);
        }
    }
    Ok(variables)
}

/// Sends rows of a shape.
fn answer(env: &Env<'_>, shape: &[Shape], rows: &[Vec<Value>]) -> Result<(), Fault> {
    let column = |(name, ty, nullable): &Shape| Column {
        name: (*name).to_owned(),
        ty: ty.clone(),
        nullable: *nullable,
        origin: Origin::Stored,
        label: Label::default(),
    };
    env.sink.columns(&shape.iter().map(column).collect::<Vec<_>>())?;
    for row in rows {
        env.sink.row(row)?;
    }
    Ok(env.sink.done(Some(rows.len() as u64))?)
}

fn bit(set: bool) -> Value {
    Value::Bit(set)
}

fn int(value: impl Into<i32>) -> Value {
    Value::Int(value.into())
}

/// Type byte and length of a type on the wire ([MS-TDS] 2.2.5.4).
fn wire(ty: &SqlType, nullable: bool) -> (i32, i32) {
    let id = i32::from(ty.system_type_id());
    let length = i32::from(ty.max_length());
    let id = match (ty, nullable) {
        (SqlType::Bit, true) => 104,
        (SqlType::Bit, false) => 50,
        (SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt, true) => 38,
        (SqlType::Real | SqlType::Float, true) => 109,
        (SqlType::Money | SqlType::SmallMoney, true) => 110,
        (SqlType::DateTime | SqlType::SmallDateTime, true) => 111,
        _ => id,
    };
    match ty {
        SqlType::Decimal { .. } | SqlType::Numeric { .. } => (id, 17),
        SqlType::Text | SqlType::Image => (id, i32::MAX),
        SqlType::NText => (id, i32::MAX - 1),
        SqlType::Xml => (id, 8100),
        SqlType::Variant => (id, 8009),
        SqlType::RowVersion => (173, 8),
        _ if ty.is_max() => (id, 65_535),
        _ => (id, length),
    }
}

impl Executor<'_> {
    /// `sp_describe_first_result_set @tsql, @params, @browse_information_mode`
    pub(super) fn describe_first_result(&mut self, params: &[Param]) -> Result<Called, Fault> {
        let mut parameters = arguments();
        let mode = Some(Value::TinyInt(0));
        parameters.push(("@browse_information_mode", SqlType::TinyInt, mode));
        let given = bind("sp_describe_first_result_set", &parameters, params)?;
        if given[2].value.as_i64() != Some(0) {
            return Err(Fault::Compile(unsupported("a browse information mode")));
        }
        let text = given[0].value.to_text().unwrap_or_default();
        let batch = self.session.shared.parse(&text)?;
        let mut variables = declared(&given[1].value)?;
        self.with_env(false, |env, _| {
            let columns = first_result(env, &batch, &mut variables)?.unwrap_or_default();
            let rows: Vec<Vec<Value>> =
                (1..).zip(&columns).map(|(at, column)| described(at, column)).collect();
            answer(env, &result_shape(), &rows)
        })?;
        Ok(Called { status: 0, outputs: Vec::new() })
    }
}

/// Columns of the first result of a batch.
fn first_result(
    env: &Env<'_>,
    batch: &Batch,
    variables: &mut Variables,
) -> Result<Option<Vec<OutputColumn>>, Fault> {
    let sends = |output: &Option<Output>| output.as_ref().is_some_and(|o| o.into.is_none());
    for statement in &batch.statements {
        let refused = match &statement.kind {
            StatementKind::Declare(declarations) => {
                for declaration in declarations {
                    let alias = declaration.user_type.as_ref();
                    let known = resolved(env, &declaration.ty, alias).map_err(of_binding)?;
                    variables.declare(&declaration.name, &known.ty);
                }
                false
            }
            StatementKind::Select(query) => {
                let binder = Binder::new(env, variables);
                binder.take_into();
                let bound = binder.statement_query(query).map_err(of_binding)?;
                let into = first_select(&query.body).into.is_some();
                if bound.assigned.is_none() && !into {
                    return Ok(Some(bound.query.columns));
                }
                false
            }
            StatementKind::Insert(insert) => sends(&insert.output),
            StatementKind::Update(update) => sends(&update.output),
            StatementKind::Delete(delete) => sends(&delete.output),
            StatementKind::Merge(merge) => sends(&merge.output),
            StatementKind::If { .. }
            | StatementKind::While { .. }
            | StatementKind::Block(_)
            | StatementKind::TryCatch { .. }
            | StatementKind::Execute(_)
            | StatementKind::ExecuteText(_)
            | StatementKind::DeclareTable { .. }
            | StatementKind::Use(_) => true,
            _ => false,
        };
        if refused {
            return Err(Fault::Compile(unsupported("a text whose first result is not a SELECT")));
        }
    }
    Ok(None)
}

/// The documented columns of `sp_describe_first_result_set`.
fn result_shape() -> Vec<Shape> {
    vec![
        ("is_hidden", SqlType::Bit, false),
        ("column_ordinal", SqlType::Int, false),
        ("name", name(), true),
        ("is_nullable", SqlType::Bit, false),
        ("system_type_id", SqlType::Int, false),
        ("system_type_name", SqlType::NVarChar(Some(256)), true),
        ("max_length", SqlType::SmallInt, false),
        ("precision", SqlType::TinyInt, false),
        ("scale", SqlType::TinyInt, false),
        ("collation_name", name(), true),
        ("user_type_id", SqlType::Int, true),
        ("user_type_database", name(), true),
        ("user_type_schema", name(), true),
        ("user_type_name", name(), true),
        ("assembly_qualified_type_name", SqlType::NVarChar(Some(4000)), true),
        ("xml_collection_id", SqlType::Int, true),
        ("xml_collection_database", name(), true),
        ("xml_collection_schema", name(), true),
        ("xml_collection_name", name(), true),
        ("is_xml_document", SqlType::Bit, false),
        ("is_case_sensitive", SqlType::Bit, false),
        ("is_fixed_length_clr_type", SqlType::Bit, false),
        ("source_server", name(), true),
        ("source_database", name(), true),
        ("source_schema", name(), true),
        ("source_table", name(), true),
        ("source_column", name(), true),
        ("is_identity_column", SqlType::Bit, true),
        ("is_part_of_unique_key", SqlType::Bit, true),
        ("is_updateable", SqlType::Bit, true),
        ("is_computed_column", SqlType::Bit, true),
        ("is_sparse_column_set", SqlType::Bit, true),
        ("ordinal_in_order_by_list", SqlType::SmallInt, true),
        ("order_by_list_length", SqlType::SmallInt, true),
        ("order_by_is_descending", SqlType::SmallInt, true),
        ("tds_type_id", SqlType::Int, false),
        ("tds_length", SqlType::Int, false),
        ("tds_collation_id", SqlType::Int, true),
        ("tds_collation_sort_id", SqlType::TinyInt, true),
    ]
}

/// A row of it. What "cannot be determined" may be NULL, by the documentation.
fn described(ordinal: i32, column: &OutputColumn) -> Vec<Value> {
    let ty = column.ty.clone().unwrap_or(SqlType::Int);
    let text = ty.is_text();
    let (tds_type, tds_length) = wire(&ty, column.nullable);
    let of_text = |value: Value| if text { value } else { Value::Null };
    let name = if column.name.is_empty() { Value::Null } else { Value::text(&column.name) };
    let mut row = vec![
        bit(false),
        int(ordinal),
        name,
        bit(column.nullable),
        int(ty.system_type_id()),
        Value::text(&ty.to_string()),
        Value::SmallInt(ty.max_length()),
        Value::TinyInt(ty.precision()),
        Value::TinyInt(ty.scale()),
        of_text(Value::text(&column.label.name())),
    ];
    row.extend(std::iter::repeat_n(Value::Null, 9));
    row.extend([bit(false), bit(false), bit(false)]);
    row.extend(std::iter::repeat_n(Value::Null, 5));
    row.push(bit(column.origin == Origin::Identity));
    // Part of a key, updateable, computed.
    row.extend(std::iter::repeat_n(Value::Null, 3));
    row.push(bit(false));
    row.extend(std::iter::repeat_n(Value::Null, 3));
    row.extend([int(tds_type), int(tds_length)]);
    let [a, b, c, d, sort] = column.label.wire();
    row.push(of_text(int(i32::from_le_bytes([a, b, c, d]))));
    row.push(of_text(Value::TinyInt(sort)));
    row
}
