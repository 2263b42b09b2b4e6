use super::*;

fn text(value: Value, from: SqlType, style: Option<i32>) -> String {
    convert(&value, &from, &SqlType::VarChar(Some(100)), style)
        .expect("convertible")
        .to_text()
        .expect("text")
}

fn from(text: &str, to: SqlType) -> Converted {
    convert(&Value::text(text), &SqlType::NVarChar(Some(100)), &to, None)
}

fn number(result: Converted) -> i32 {
    result.expect_err("an error").number
}

fn decimal(unscaled: i128, scale: u8) -> Value {
    Value::Decimal { unscaled, scale }
}

#[test]
fn numbers_from_text() {
    assert_eq!(from(" -12 ", SqlType::Int).expect("int"), Value::Int(-12));
    assert_eq!(from("", SqlType::Int).expect("int"), Value::Int(0));
    assert_eq!(number(from("abc", SqlType::Int)), 245);
    assert_eq!(number(from("1.5", SqlType::Int)), 245);
    assert_eq!(number(from("300", SqlType::TinyInt)), 244);
    assert_eq!(number(from("3000000000", SqlType::Int)), 248);
    assert_eq!(number(from("x", SqlType::BigInt)), 8114);
    let money = SqlType::Decimal { precision: 5, scale: 2 };
    assert_eq!(from("1.005", money.clone()).expect("decimal"), decimal(101, 2));
    assert_eq!(number(from("1000", money.clone())), 8115);
    assert_eq!(number(from("1e3", money)), 8114);
    assert_eq!(from("$1,234.5", SqlType::Money).expect("money"), Value::Money(12_345_000));
    assert_eq!(from("1e-3", SqlType::Float).expect("float"), Value::Float(1e-3));
}

#[test]
fn numbers_between_types() {
    let int = |value: Value, from: SqlType| convert(&value, &from, &SqlType::Int, None);
    let dec = SqlType::Decimal { precision: 10, scale: 2 };
    assert_eq!(int(decimal(-199, 2), dec.clone()).expect("cut"), Value::Int(-1));
    assert_eq!(int(Value::Money(19_999), SqlType::Money).expect("rounded"), Value::Int(2));
    assert_eq!(int(Value::Float(-1.9), SqlType::Float).expect("cut"), Value::Int(-1));
    assert_eq!(number(int(Value::BigInt(1 << 40), SqlType::BigInt)), 8115);
    assert_eq!(number(convert(&Value::Int(256), &SqlType::Int, &SqlType::TinyInt, None)), 220);
    let short = SqlType::Decimal { precision: 4, scale: 1 };
    assert_eq!(convert(&decimal(155, 2), &dec, &short, None).expect("rounded"), decimal(16, 1));
    assert_eq!(
        convert(&Value::Real(0.1), &SqlType::Real, &short, None).expect("real"),
        decimal(1, 1)
    );
    assert_eq!(
        convert(&Value::Float(0.285), &SqlType::Float, &dec, None).expect("float"),
        decimal(29, 2)
    );
}

#[test]
fn numbers_to_text() {
    let shown = |v: f64| text(Value::Float(v), SqlType::Float, None);
    assert_eq!(shown(0.0), "0");
    assert_eq!(shown(1.5), "1.5");
    assert_eq!(shown(123_456_789.0), "1.23457e+008");
    assert_eq!(shown(0.000_01), "1e-005");
    assert_eq!(text(Value::Float(1.0), SqlType::Float, Some(2)), "1.000000000000000e+000");
    assert_eq!(text(Value::Money(12_345_678), SqlType::Money, None), "1234.57");
    assert_eq!(text(Value::Money(12_345_678), SqlType::Money, Some(1)), "1,234.57");
    assert_eq!(text(Value::Money(-5), SqlType::Money, Some(2)), "-0.0005");
    let narrow = convert(&Value::Int(1234), &SqlType::Int, &SqlType::VarChar(Some(2)), None);
    assert_eq!(narrow.expect("star").to_text().as_deref(), Some("*"));
    assert_eq!(
        number(convert(&Value::Int(1234), &SqlType::Int, &SqlType::NVarChar(Some(2)), None)),
        8115
    );
}

#[test]
fn dates_and_times() {
    let at = from("2026-11-23 17:57:09.005", SqlType::DateTime).expect("datetime");
    assert_eq!(text(at.clone(), SqlType::DateTime, None), "Nov 23 2026  5:57PM");
    assert_eq!(text(at.clone(), SqlType::DateTime, Some(121)), "2026-11-23 17:57:09.007");
    assert_eq!(text(at.clone(), SqlType::DateTime, Some(112)), "20261123");
    assert_eq!(text(at, SqlType::DateTime, Some(126)), "2026-11-23T17:57:09.007");
    let two = from("2026-11-23 17:57:09.1234567", SqlType::DateTime2(7)).expect("datetime2");
    assert_eq!(text(two.clone(), SqlType::DateTime2(7), None), "2026-11-23 17:57:09.1234567");
    let three =
        convert(&two, &SqlType::DateTime2(7), &SqlType::DateTime2(3), None).expect("rounded");
    assert_eq!(text(three, SqlType::DateTime2(3), None), "2026-11-23 17:57:09.123");
    let offset = from("2026-11-23 01:00 +02:00", SqlType::DateTimeOffset(0)).expect("offset");
    assert_eq!(text(offset, SqlType::DateTimeOffset(0), None), "2026-11-23 01:00:00 +02:00");
    assert_eq!(number(from("2026-02-30", SqlType::Date)), 241);
    assert_eq!(number(from("2026-02-30", SqlType::DateTime)), 242);
    assert_eq!(number(from("1752-12-31", SqlType::DateTime)), 242);
    assert_eq!(number(from("2026-01-01 00:00:00.1234", SqlType::DateTime)), 241);
    assert_eq!(
        from("2026-01-01 12:30:30", SqlType::SmallDateTime).expect("small"),
        Value::SmallDateTime { days: 46_021, minutes: 751 }
    );
    let day = convert(&Value::Int(1), &SqlType::Int, &SqlType::DateTime, None).expect("day");
    assert_eq!(text(day, SqlType::DateTime, Some(120)), "1900-01-02 00:00:00");
}

#[test]
fn guids_and_binaries() {
    let shown = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
    let guid = from(shown, SqlType::UniqueIdentifier).expect("guid");
    assert_eq!(text(guid.clone(), SqlType::UniqueIdentifier, None), shown);
    let Value::Guid(bytes) = guid else { panic!("a guid") };
    assert_eq!(bytes[..4], [0xFF, 0x19, 0x96, 0x6F]);
    assert_eq!(number(from("nope", SqlType::UniqueIdentifier)), 8169);
    let binary = Value::binary(&[0, 0x2A]);
    let ty = SqlType::VarBinary(Some(10));
    assert_eq!(text(binary.clone(), ty.clone(), Some(1)), "0x002A");
    assert_eq!(text(binary.clone(), ty.clone(), Some(2)), "002A");
    assert_eq!(convert(&binary, &ty, &SqlType::Int, None).expect("int"), Value::Int(42));
    assert_eq!(
        convert(&Value::Int(258), &SqlType::Int, &SqlType::Binary(3), None).expect("binary"),
        Value::binary(&[0, 1, 2])
    );
    let ten = convert(&Value::text("0x01"), &SqlType::NVarChar(None), &SqlType::Binary(2), Some(1));
    assert_eq!(ten.expect("hex"), Value::binary(&[1, 0]));
}

#[test]
fn columns_do_not_cut() {
    let name = || ("db.dbo.t".to_owned(), "c".to_owned());
    let from = SqlType::VarChar(Some(4));
    let to = SqlType::VarChar(Some(2));
    let error =
        assign(Value::ansi("abcd"), &from, &to, Label::default(), name).expect_err("too long");
    assert_eq!(error.number, 2628);
    assert!(error.message.ends_with("Truncated value: 'ab'."), "{}", error.message);
    assert_eq!(
        assign(Value::ansi("ab  "), &from, &to, Label::default(), name).expect("blanks"),
        Value::ansi("ab")
    );
    assert_eq!(
        assign(Value::ansi("a"), &from, &SqlType::NChar(3), Label::default(), name)
            .expect("padded"),
        Value::text("a  ")
    );
}
