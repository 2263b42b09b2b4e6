//! Bound expressions: names are resolved to slots, types are known and conversions explicit, so
//! that evaluation neither looks anything up nor decides anything per row.

pub mod arithmetic;
mod condition;
pub mod like;

use std::borrow::Cow;
use std::rc::Rc;

use super::collation::Label;
use super::convert;
use super::env::{Elsewhere, Env};
use super::mask::Mask;
use super::plan::Subquery;
use super::syntax::ast::BinaryOp;
use crate::storage::Row;
use crate::{SqlError, SqlType, Value};

pub use condition::{Condition, all};

/// Result of an evaluation.
pub type Evaluated<'a> = Result<Cow<'a, Value>, SqlError>;

/// The rows an expression may refer to: one per source of its query, and those of the queries
/// around it.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Current row of each source.
    pub rows: &'a [Row],
    /// The query around this one.
    pub outer: Option<&'a Frame<'a>>,
}

impl<'a> Frame<'a> {
    /// A frame without sources.
    pub fn empty() -> Frame<'static> {
        Frame { rows: &[], outer: None }
    }

    fn column(&self, place: Place) -> Option<&'a Value> {
        let mut frame = *self;
        for _ in 0..place.depth {
            frame = *frame.outer?;
        }
        frame.rows.get(place.source)?.get(place.ordinal)
    }
}

/// Where a column's value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Queries outward.
    pub depth: usize,
    /// Source in the query.
    pub source: usize,
    /// Position in the source's row.
    pub ordinal: usize,
}

/// A function of the library: arguments are of the types its binding promised.
pub type Function = fn(&Env<'_>, &[Value]) -> Result<Value, SqlError>;

/// A bound value expression.
#[derive(Clone)]
pub enum Node {
    /// A constant.
    Constant(Value),
    /// A column.
    Column(Place),
    /// A variable of the batch.
    Variable(usize),
    /// Arithmetic or bits over two operands of the type given.
    Arithmetic {
        /// Operator.
        op: BinaryOp,
        /// Type of the result, which picks the algorithm.
        ty: SqlType,
        /// Left operand.
        left: Box<Node>,
        /// Right operand.
        right: Box<Node>,
    },
    /// Concatenation of strings or binaries of one kind, cut at the length given.
    Concatenate {
        /// Left operand.
        left: Box<Node>,
        /// Right operand.
        right: Box<Node>,
        /// Longest result, in characters or bytes; none for MAX.
        limit: Option<u16>,
    },
    /// A conversion.
    Convert {
        /// What is converted.
        value: Box<Node>,
        /// Its type.
        from: SqlType,
        /// Its new type.
        to: SqlType,
        /// CONVERT's style.
        style: Option<i32>,
        /// NULL instead of an error.
        attempt: bool,
    },
    /// COLLATE.
    Collate(Box<Node>, Label),
    /// CASE: conditions and results of one type.
    Case {
        /// Conditions and results.
        branches: Vec<(Condition, Node)>,
        /// ELSE.
        otherwise: Box<Node>,
    },
    /// A library function.
    Call {
        /// Function.
        function: Function,
        /// Arguments.
        arguments: Vec<Node>,
    },
    /// A function of change data capture.
    Capture {
        /// Function.
        function: &'static crate::cdc::ScalarFunction,
        /// The database it is asked of, if not the current one.
        elsewhere: Option<Elsewhere>,
        /// Arguments.
        arguments: Vec<Node>,
    },
    /// A scalar subquery.
    Subquery(Rc<Subquery>),
    /// An expression over masked columns, which its own parts do not tell.
    OverMasked(Box<Node>),
    /// What a masking function shows of a value of this type.
    Masked(Box<(Node, Mask, SqlType)>),
}

/// A bound expression with its type.
#[derive(Clone)]
pub struct Typed {
    /// Expression.
    pub node: Node,
    /// Type; none for a bare NULL.
    pub ty: Option<SqlType>,
    /// Whether it may be NULL.
    pub nullable: bool,
}

impl Typed {
    /// A constant.
    pub fn constant(value: Value, ty: SqlType) -> Typed {
        Typed { nullable: value.is_null(), node: Node::Constant(value), ty: Some(ty) }
    }

    /// A call that may answer NULL.
    pub fn call(function: Function, arguments: Vec<Node>, ty: SqlType) -> Typed {
        Typed { node: Node::Call { function, arguments }, ty: Some(ty), nullable: true }
    }

    /// Its type, `int` for a bare NULL.
    pub fn type_or_int(&self) -> SqlType {
        self.ty.clone().unwrap_or(SqlType::Int)
    }

    /// Whether it is a constant that needs no row.
    pub fn as_constant(&self) -> Option<&Value> {
        match &self.node {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The same converted, without a check that the conversion is allowed.
    pub fn converted(self, to: &SqlType) -> Typed {
        let Some(from) = self.ty.clone() else {
            return Typed {
                node: Node::Constant(Value::Null),
                ty: Some(to.clone()),
                nullable: true,
            };
        };
        if from == *to {
            return self;
        }
        // A constant is converted once, unless that fails: then it fails where it is evaluated.
        if let Node::Constant(value) = &self.node
            && let Ok(value) = convert::convert(value, &from, to, None)
        {
            return Typed::constant(value, to.clone());
        }
        Typed {
            node: Node::Convert {
                value: Box::new(self.node),
                from,
                to: to.clone(),
                style: None,
                attempt: false,
            },
            ty: Some(to.clone()),
            nullable: self.nullable,
        }
    }
}

impl Node {
    /// Evaluates.
    ///
    /// # Errors
    /// Those of conversions, arithmetic and functions.
    pub fn eval<'a>(&'a self, frame: &Frame<'a>, env: &Env<'_>) -> Evaluated<'a> {
        match self {
            Node::Constant(value) => Ok(Cow::Borrowed(value)),
            Node::Column(place) => frame
                .column(*place)
                .map(Cow::Borrowed)
                .ok_or_else(|| internal("a column outside its rows")),
            Node::Variable(at) => Ok(Cow::Owned(env.variable(*at))),
            Node::Arithmetic { op, ty, left, right } => {
                let left = left.eval(frame, env)?;
                let right = right.eval(frame, env)?;
                arithmetic::apply(*op, ty, &left, &right).map(Cow::Owned)
            }
            Node::Concatenate { left, right, limit } => {
                let left = left.eval(frame, env)?;
                let right = right.eval(frame, env)?;
                Ok(Cow::Owned(concatenate(&left, &right, *limit)))
            }
            Node::Convert { value, from, to, style, attempt } => {
                let value = value.eval(frame, env)?;
                match convert::convert(&value, from, to, *style) {
                    Ok(converted) => Ok(Cow::Owned(converted)),
                    Err(_) if *attempt => Ok(Cow::Owned(Value::Null)),
                    Err(error) => Err(error),
                }
            }
            Node::Collate(value, label) => {
                Ok(Cow::Owned(value.eval(frame, env)?.into_owned().labelled(*label)))
            }
            Node::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    if condition.holds(frame, env)? {
                        return result.eval(frame, env);
                    }
                }
                otherwise.eval(frame, env)
            }
            Node::Call { function, arguments } => {
                let arguments = evaluate_all(arguments, frame, env)?;
                let result = function(env, &arguments)?;
                // A string made of strings has their collation.
                let label =
                    arguments.iter().fold(Label::default(), |label, arg| label.with(arg.label()));
                Ok(Cow::Owned(match label.is_default() {
                    true => result,
                    false => result.labelled(label),
                }))
            }
            Node::Capture { function, elsewhere, arguments } => {
                let arguments = evaluate_all(arguments, frame, env)?;
                env.with_capture_of(elsewhere.as_ref(), |context| {
                    function.call(context, &arguments)
                })
                .map(Cow::Owned)
            }
            Node::Subquery(query) => query.scalar(frame, env).map(Cow::Owned),
            Node::OverMasked(value) => value.eval(frame, env),
            Node::Masked(parts) => {
                let (value, mask, ty) = &**parts;
                mask.apply(value.eval(frame, env)?.into_owned(), ty).map(Cow::Owned)
            }
        }
    }

    /// Visits this node and all below it in this query; subqueries are visited as nodes only.
    pub fn visit(&self, see: &mut dyn FnMut(&Node)) {
        see(self);
        match self {
            Node::Arithmetic { left, right, .. } | Node::Concatenate { left, right, .. } => {
                left.visit(see);
                right.visit(see);
            }
            Node::Convert { value, .. } | Node::Collate(value, _) | Node::OverMasked(value) => {
                value.visit(see);
            }
            Node::Masked(parts) => parts.0.visit(see),
            Node::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    condition.visit(see);
                    result.visit(see);
                }
                otherwise.visit(see);
            }
            Node::Call { arguments, .. } | Node::Capture { arguments, .. } => {
                for argument in arguments {
                    argument.visit(see);
                }
            }
            Node::Constant(_) | Node::Column(_) | Node::Variable(_) | Node::Subquery(_) => {}
        }
    }

    /// Every column it reads, from its own query's point of view, subqueries included.
    pub fn places(&self, out: &mut Vec<Place>) {
        self.visit(&mut |node| match node {
            Node::Column(place) => out.push(*place),
            Node::Subquery(query) => out.extend(query.outer_places.iter().copied()),
            _ => {}
        });
    }

    /// Whether two expressions are the same (for GROUP BY).
    pub fn same(&self, other: &Node) -> bool {
        use Node::*;
        match (self, other) {
            (Constant(l), Constant(r)) => l == r,
            (Column(l), Column(r)) => l == r,
            (Variable(l), Variable(r)) => l == r,
            (
                Arithmetic { op: lo, ty: lt, left: ll, right: lr },
                Arithmetic { op: ro, ty: rt, left: rl, right: rr },
            ) => lo == ro && lt == rt && ll.same(rl) && lr.same(rr),
            (
                Concatenate { left: ll, right: lr, limit: lm },
                Concatenate { left: rl, right: rr, limit: rm },
            ) => lm == rm && ll.same(rl) && lr.same(rr),
            (
                Convert { value: lv, to: lt, style: ls, attempt: la, .. },
                Convert { value: rv, to: rt, style: rs, attempt: ra, .. },
            ) => lt == rt && ls == rs && la == ra && lv.same(rv),
            (Collate(lv, ll), Collate(rv, rl)) => ll == rl && lv.same(rv),
            (OverMasked(l), OverMasked(r)) => l.same(r),
            (Call { function: lf, arguments: la }, Call { function: rf, arguments: ra }) => {
                std::ptr::fn_addr_eq(*lf, *rf)
                    && la.len() == ra.len()
                    && la.iter().zip(ra).all(|(l, r)| l.same(r))
            }
            (Case { branches: lb, otherwise: lo }, Case { branches: rb, otherwise: ro }) => {
                lb.len() == rb.len()
                    && lb.iter().zip(rb).all(|((lc, lr), (rc, rr))| lc.same(rc) && lr.same(rr))
                    && lo.same(ro)
            }
            _ => false,
        }
    }
}

/// Evaluates several expressions.
///
/// # Errors
/// The first one's.
pub fn evaluate_all(
    nodes: &[Node],
    frame: &Frame<'_>,
    env: &Env<'_>,
) -> Result<Vec<Value>, SqlError> {
    nodes.iter().map(|node| node.eval(frame, env).map(Cow::into_owned)).collect()
}

/// NULL if either is; both of one kind otherwise.
fn concatenate(left: &Value, right: &Value, limit: Option<u16>) -> Value {
    fn join<T: Copy>(left: &[T], right: &[T], limit: Option<u16>) -> Vec<T> {
        let mut joined = Vec::with_capacity(left.len() + right.len());
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        if let Some(limit) = limit {
            joined.truncate(usize::from(limit));
        }
        joined
    }
    let label = left.label().with(right.label());
    match (left, right) {
        (Value::String(l), Value::String(r))
            if l.label().page() == label.page() && r.label().page() == label.page() =>
        {
            let joined = join(l, r, None);
            let limit = limit.map_or(usize::MAX, usize::from);
            Value::String(label.page().cut(&joined, limit).into()).of_collation(label)
        }
        (Value::String(_), Value::String(_)) => {
            concatenate(&left.clone().labelled(label), &right.clone().labelled(label), limit)
        }
        (Value::NString(l), Value::NString(r)) => {
            Value::NString(join(l, r, limit).into()).of_collation(label)
        }
        (Value::Binary(l), Value::Binary(r)) => Value::Binary(join(l, r, limit).into()),
        _ => Value::Null,
    }
}

/// Error 8624: a fault of this engine, never of the statement.
pub fn internal(what: &str) -> SqlError {
    SqlError::new(8624, 16, 1, format!("Internal Query Processor Error: {what}."))
}
