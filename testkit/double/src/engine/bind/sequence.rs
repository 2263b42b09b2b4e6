//! NEXT VALUE FOR.

use super::{Binder, Bound, invalid_object, unsupported};
use crate::engine::env::Env;
use crate::engine::expr::{Node, Typed};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::ObjectName;
use crate::{SqlError, SqlType, Value};

impl Binder<'_, '_> {
    /// The next value of a sequence, each time it is asked for.
    ///
    /// # Errors
    /// 208 for no sequence, 229 without UPDATE on it, 11719 in a view or function.
    pub(super) fn next_value(&self, name: &ObjectName) -> Bound<Typed> {
        if self.is_within() {
            return Err(SqlError::new(
                11_719,
                15,
                1,
                "NEXT VALUE FOR function is not allowed in check constraints, default objects, computed columns, views, user-defined functions, user-defined aggregates, user-defined table types, sub-queries, common table expressions, derived tables or return statements.",
            ));
        }
        let target = self.object(name)?;
        let sequence = target.table.sequence().ok_or_else(|| invalid_object(name))?;
        if target.elsewhere.is_some() {
            return Err(unsupported("a sequence of another database"));
        }
        self.check(&target, Permission::Update)?;
        let id = Node::Constant(Value::Int(target.table.id));
        let next = Typed { nullable: false, ..Typed::call(next, vec![id], SqlType::BigInt) };
        Ok(next.converted(&sequence.ty))
    }
}

fn next(env: &Env<'_>, arguments: &[Value]) -> Result<Value, SqlError> {
    let id = arguments[0].as_i64().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
    env.with_txn(|txn| txn.next_in_sequence(id)).map(Value::BigInt)
}
