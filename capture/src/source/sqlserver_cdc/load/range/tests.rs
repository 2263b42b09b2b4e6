use std::cmp::Ordering;

use proptest::prelude::*;

use super::super::super::types::RawColumn;
use super::*;

const INT: u8 = 56;
const NVARCHAR: u8 = 231;
const NAMES: [&str; 3] = ["a", "b", "c"];

fn key(types: &[u8]) -> Vec<KeyColumn> {
    let column = |(i, ty): (usize, &u8)| {
        let raw = RawColumn {
            name: NAMES[i].to_owned(),
            column_id: 1,
            system_type: *ty,
            user_type: i32::from(*ty),
            max_length: 8,
            precision: 10,
            scale: 0,
            collation: (*ty == NVARCHAR).then(|| "Latin1_General_CI_AS".to_owned()),
            nullable: false,
            identity: false,
            computed: false,
        };
        KeyColumn::new(&raw, i, None).expect("a key column")
    };
    types.iter().enumerate().map(column).collect()
}

/// The server's order: text without regard to case.
fn compare(x: &Value<'_>, u: &Value<'_>) -> Ordering {
    match (x, u) {
        (Value::I64(x), Value::I64(u)) => x.cmp(u),
        (Value::String(x), Value::String(u)) => x.to_lowercase().cmp(&u.to_lowercase()),
        _ => unreachable!("no other type here"),
    }
}

fn compare_keys(x: &[Value<'_>], u: &[Value<'_>]) -> Ordering {
    let orders = x.iter().zip(u).map(|(x, u)| compare(x, u));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Evaluates a condition as the server does.
fn holds(condition: &str, row: &[Value<'static>], bounds: &[Value<'static>]) -> bool {
    let operand = |text: &str| -> Value<'static> {
        match text.split_once("@P") {
            Some((_, rest)) => {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                bounds[digits.parse::<usize>().expect("a number") - 1].clone()
            }
            None => {
                let name = text.trim_start_matches("t.[").trim_end_matches(']');
                row[NAMES.iter().position(|other| *other == name).expect("a column")].clone()
            }
        }
    };
    let [left, op, right] = *condition.splitn(3, [' '; 1]).collect::<Vec<_>>().as_slice() else {
        panic!("no condition: {condition}");
    };
    // A guard's left side has blanks of its own.
    let (left, op, right) = match condition.starts_with("t.[") {
        true => (left, op, right),
        false => {
            let op = if condition.contains(" = ") { "=" } else { "<" };
            let (left, right) = condition.split_once(&format!(" {op} ")).expect("a comparison");
            (left, op, right)
        }
    };
    let order = compare(&operand(left), &operand(right));
    match op {
        "=" => order.is_eq(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        other => panic!("no operator: {other}"),
    }
}

fn value(ty: u8) -> BoxedStrategy<Value<'static>> {
    match ty {
        INT => (0i64..3).prop_map(Value::I64).boxed(),
        _ => prop::sample::select(vec!["a", "A", "b", "B", "c"])
            .prop_map(|text| Value::String(text.into()))
            .boxed(),
    }
}

fn values(types: &[u8]) -> Vec<BoxedStrategy<Value<'static>>> {
    types.iter().map(|ty| value(*ty)).collect()
}

type Case =
    (Vec<u8>, Option<Vec<Value<'static>>>, Option<Vec<Value<'static>>>, Vec<Vec<Value<'static>>>);

fn case() -> impl Strategy<Value = Case> {
    prop::collection::vec(prop::sample::select(vec![INT, NVARCHAR]), 1..4).prop_flat_map(|types| {
        let bound = || prop::option::of(values(&types));
        let rows = prop::collection::vec(values(&types), 1..20);
        (Just(types.clone()), bound(), bound(), rows)
    })
}

proptest! {
    /// Every row of the range is in exactly one piece, no other row is in any, and the pieces
    /// follow each other in the key's order.
    #[test]
    fn pieces_tile_the_range((types, lower, upper, rows) in case()) {
        let key = key(&types);
        let bounds = Bounds { lower: lower.as_deref(), upper: upper.as_deref() };
        let (pieces, parameters) = pieces(&key, bounds).expect("of the key");
        let sent: Vec<_> = lower.iter().chain(&upper).flatten().cloned().collect();
        prop_assert_eq!(parameters.len(), sent.len());
        let mut last: Option<(usize, Vec<Value<'static>>)> = None;
        let mut sorted = rows;
        sorted.sort_by(|x, u| compare_keys(x, u));
        for row in sorted {
            let above = lower.as_ref().is_none_or(|lower| compare_keys(&row, lower).is_gt());
            let below = upper.as_ref().is_none_or(|upper| compare_keys(&row, upper).is_le());
            let crossed = lower.as_ref().zip(upper.as_ref()).is_some_and(|(x, u)| compare_keys(x, u).is_gt());
            let found: Vec<usize> = (0..pieces.len())
                .filter(|i| pieces[*i].iter().all(|condition| holds(condition, &row, &sent)))
                .collect();
            // Bounds that cross are no range; they are never asked for.
            if crossed {
                continue;
            }
            prop_assert_eq!(found.len(), usize::from(above && below), "{:?} in {:?}", row, pieces);
            if let [piece] = found[..] {
                if let Some((before, _)) = &last {
                    prop_assert!(*before <= piece, "{:?}", pieces);
                }
                last = Some((piece, row));
            }
        }
    }
}

#[test]
fn pieces_seek() {
    let (a, b) = ("CONVERT(int, @P1)", "CONVERT(int, @P2)");
    let (u, v) = ("CONVERT(int, @P3)", "CONVERT(int, @P4)");
    let ints = |numbers: [i64; 2]| numbers.map(Value::I64);
    let (lower, upper) = (ints([1, 2]), ints([3, 4]));
    let key = key(&[INT, INT]);
    let bounds = Bounds { lower: Some(&lower), upper: Some(&upper) };
    assert_eq!(
        rows("t.[a]", "[dbo].[t]", &key, bounds).expect("of the key").sql,
        format!(
            "SELECT t.[a] FROM [dbo].[t] AS t WHERE t.[a] = {a} AND t.[b] > {b} ORDER BY t.[a], t.[b]; \
             SELECT t.[a] FROM [dbo].[t] AS t WHERE t.[a] > {a} AND t.[a] < {u} ORDER BY t.[a], t.[b]; \
             SELECT t.[a] FROM [dbo].[t] AS t WHERE t.[a] = {u} AND t.[b] <= {v} ORDER BY t.[a], t.[b]"
        )
    );
    let same = ints([1, 9]);
    let bounds = Bounds { lower: Some(&lower), upper: Some(&same) };
    assert_eq!(
        rows("t.[a]", "[dbo].[t]", &key, bounds).expect("of the key").sql,
        format!(
            "SELECT t.[a] FROM [dbo].[t] AS t WHERE t.[a] = {a} AND t.[b] > {b} AND t.[b] <= {v} \
             ORDER BY t.[a], t.[b]"
        )
    );
    let all = rows("t.[a]", "[dbo].[t]", &[], Bounds::default()).expect("everything");
    assert_eq!(all.sql, "SELECT t.[a] FROM [dbo].[t] AS t");
}

#[test]
fn bounds_of_another_key_are_refused() {
    let key = key(&[INT, INT]);
    for wrong in [vec![Value::I64(1)], vec![Value::I64(1), Value::Null], Vec::new()] {
        let bounds = Bounds { lower: Some(&wrong), upper: None };
        assert_eq!(rows("", "", &key, bounds), Err(NotOfKey));
    }
}
