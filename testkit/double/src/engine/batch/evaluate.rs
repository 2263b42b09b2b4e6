//! Expressions outside of queries.

use super::Executor;
use crate::engine::bind::{Binder, Scope, types};
use crate::engine::expr::{Frame, Typed};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::Expr;
use crate::{SqlType, Value};

impl Executor<'_> {
    pub(in crate::engine) fn assign(&mut self, variable: &str, value: Value) -> Result<(), Fault> {
        let (at, _) = self.variables.get(variable).map_err(Fault::Compile)?;
        self.values.borrow_mut()[at] = value;
        Ok(())
    }

    pub(in crate::engine) fn evaluate_for(
        &mut self,
        variable: &str,
        value: &Expr,
    ) -> Result<Value, Fault> {
        let (_, ty) = self.variables.get(variable).map_err(Fault::Compile)?;
        let ty = ty.clone();
        self.evaluate_as(value, &ty)
    }

    /// Evaluates an expression outside of any query, as a type.
    pub(in crate::engine) fn evaluate_as(
        &mut self,
        value: &Expr,
        ty: &SqlType,
    ) -> Result<Value, Fault> {
        self.with_env(false, |env, variables| {
            let binder = Binder::new(env, variables);
            let scope = Scope::inside(None);
            let bound = binder
                .shown(value, &scope)
                .and_then(|value| types::implicit(value, ty))
                .map_err(of_binding)?;
            Ok(bound.node.eval(&Frame::empty(), env)?.into_owned())
        })
    }

    /// Evaluates an expression outside of any query; also its type.
    pub(in crate::engine) fn evaluate(
        &mut self,
        value: &Expr,
    ) -> Result<(Value, Option<SqlType>), Fault> {
        self.with_env(false, |env, variables| {
            let binder = Binder::new(env, variables);
            let scope = Scope::inside(None);
            let bound: Typed = binder.shown(value, &scope).map_err(of_binding)?;
            let result = bound.node.eval(&Frame::empty(), env)?.into_owned();
            Ok((result, bound.ty))
        })
    }

    pub(in crate::engine) fn integer(&mut self, value: &Expr) -> Result<Option<i32>, Fault> {
        let value = self.evaluate_as(value, &SqlType::Int)?;
        Ok(value.as_i64().and_then(|value| i32::try_from(value).ok()))
    }
}
