//! Conditions, in three-valued logic: `None` is UNKNOWN.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Frame, Node, Place, like};
use crate::engine::env::Env;
use crate::engine::plan::Subquery;
use crate::engine::syntax::ast::CompareOp;
use crate::{SqlError, Value};

/// A truth value.
type Truth = Result<Option<bool>, SqlError>;

/// A bound condition.
#[derive(Clone)]
pub enum Condition {
    /// A comparison of two operands of one type.
    Compare(CompareOp, Node, Node),
    /// AND
    And(Box<Condition>, Box<Condition>),
    /// OR
    Or(Box<Condition>, Box<Condition>),
    /// NOT
    Not(Box<Condition>),
    /// IS NULL
    IsNull(Node),
    /// IN a list of values of the operand's type.
    InList(Node, Vec<Node>),
    /// IN a subquery; operand and column are of one type.
    InQuery(Node, Rc<Subquery>),
    /// EXISTS
    Exists(Rc<Subquery>),
    /// LIKE over two strings.
    Like {
        /// Value.
        value: Node,
        /// Pattern.
        pattern: Node,
        /// Escape.
        escape: Option<Node>,
    },
}

impl Condition {
    /// Whether it is TRUE, not UNKNOWN.
    ///
    /// # Errors
    /// Those of its expressions.
    pub fn holds(&self, frame: &Frame<'_>, env: &Env<'_>) -> Result<bool, SqlError> {
        Ok(self.eval(frame, env)? == Some(true))
    }

    /// Evaluates.
    ///
    /// # Errors
    /// Those of its expressions.
    pub fn eval(&self, frame: &Frame<'_>, env: &Env<'_>) -> Truth {
        match self {
            Condition::Compare(op, left, right) => {
                let left = left.eval(frame, env)?;
                let right = right.eval(frame, env)?;
                Ok(compare(*op, &left, &right))
            }
            Condition::And(left, right) => match left.eval(frame, env)? {
                Some(false) => Ok(Some(false)),
                left => Ok(match right.eval(frame, env)? {
                    Some(false) => Some(false),
                    right => (left.is_some() && right.is_some()).then_some(true),
                }),
            },
            Condition::Or(left, right) => match left.eval(frame, env)? {
                Some(true) => Ok(Some(true)),
                left => Ok(match right.eval(frame, env)? {
                    Some(true) => Some(true),
                    right => (left.is_some() && right.is_some()).then_some(false),
                }),
            },
            Condition::Not(inner) => Ok(inner.eval(frame, env)?.map(|truth| !truth)),
            Condition::IsNull(node) => Ok(Some(node.eval(frame, env)?.is_null())),
            Condition::InList(value, list) => {
                let value = value.eval(frame, env)?;
                let mut unknown = value.is_null();
                for item in list {
                    let item = item.eval(frame, env)?;
                    match compare(CompareOp::Equal, &value, &item) {
                        Some(true) => return Ok(Some(true)),
                        Some(false) => {}
                        None => unknown = true,
                    }
                }
                Ok((!unknown).then_some(false))
            }
            Condition::InQuery(value, query) => {
                let value = value.eval(frame, env)?;
                query.contains(&value, frame, env)
            }
            Condition::Exists(query) => query.exists(frame, env).map(Some),
            Condition::Like { value, pattern, escape } => {
                let value = value.eval(frame, env)?;
                let pattern = pattern.eval(frame, env)?;
                let escape = match escape {
                    Some(node) => Some(node.eval(frame, env)?),
                    None => None,
                };
                like::matches(&value, &pattern, escape.as_deref())
            }
        }
    }

    /// Visits every value expression in it.
    pub fn visit(&self, see: &mut dyn FnMut(&Node)) {
        match self {
            Condition::Compare(_, left, right) => {
                left.visit(see);
                right.visit(see);
            }
            Condition::And(left, right) | Condition::Or(left, right) => {
                left.visit(see);
                right.visit(see);
            }
            Condition::Not(inner) => inner.visit(see),
            Condition::IsNull(node) => node.visit(see),
            Condition::InList(value, list) => {
                value.visit(see);
                for item in list {
                    item.visit(see);
                }
            }
            Condition::InQuery(value, query) => {
                value.visit(see);
                see(&Node::Subquery(Rc::clone(query)));
            }
            Condition::Exists(query) => see(&Node::Subquery(Rc::clone(query))),
            Condition::Like { value, pattern, escape } => {
                value.visit(see);
                pattern.visit(see);
                if let Some(escape) = escape {
                    escape.visit(see);
                }
            }
        }
    }

    /// Every column it reads, from its own query's point of view.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        self.visit(&mut |node| match node {
            Node::Column(place) => places.push(*place),
            Node::Subquery(query) => places.extend(query.outer_places.iter().copied()),
            _ => {}
        });
        places
    }

    /// Its AND-ed parts.
    pub fn conjuncts(self) -> Vec<Condition> {
        match self {
            Condition::And(left, right) => {
                let mut parts = left.conjuncts();
                parts.extend(right.conjuncts());
                parts
            }
            other => vec![other],
        }
    }

    /// Whether two conditions are the same.
    pub fn same(&self, other: &Condition) -> bool {
        use Condition::*;
        match (self, other) {
            (Compare(lo, ll, lr), Compare(ro, rl, rr)) => lo == ro && ll.same(rl) && lr.same(rr),
            (And(ll, lr), And(rl, rr)) | (Or(ll, lr), Or(rl, rr)) => ll.same(rl) && lr.same(rr),
            (Not(l), Not(r)) => l.same(r),
            (IsNull(l), IsNull(r)) => l.same(r),
            (InList(lv, ll), InList(rv, rl)) => {
                lv.same(rv) && ll.len() == rl.len() && ll.iter().zip(rl).all(|(l, r)| l.same(r))
            }
            _ => false,
        }
    }
}

/// Joins conditions by AND, in a tree of the least depth.
pub fn all(conditions: impl IntoIterator<Item = Condition>) -> Option<Condition> {
    let mut terms: Vec<Condition> = conditions.into_iter().collect();
    while terms.len() > 1 {
        let mut pairs = terms.into_iter();
        let mut joined = Vec::new();
        while let Some(left) = pairs.next() {
            joined.push(match pairs.next() {
                Some(right) => Condition::And(Box::new(left), Box::new(right)),
                None => left,
            });
        }
        terms = joined;
    }
    terms.pop()
}

/// A comparison; UNKNOWN if a side is NULL.
pub fn compare(op: CompareOp, left: &Value, right: &Value) -> Option<bool> {
    if left.is_null() || right.is_null() {
        return None;
    }
    let order = left.compare(right);
    Some(match op {
        CompareOp::Equal => order == Ordering::Equal,
        CompareOp::NotEqual => order != Ordering::Equal,
        CompareOp::Less => order == Ordering::Less,
        CompareOp::LessOrEqual => order != Ordering::Greater,
        CompareOp::Greater => order == Ordering::Greater,
        CompareOp::GreaterOrEqual => order != Ordering::Less,
    })
}
