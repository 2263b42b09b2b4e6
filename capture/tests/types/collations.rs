//! Text under collations: code pages that capture decodes, those that the server does, and UTF-8.

use lockstep_common::Value;

use super::arrive;
use crate::server::{Server, text};

/// A collation, and text that its code page has beside ASCII.
const CODE_PAGES: [(&str, &str); 13] = [
    ("Latin1_General_CI_AS", "\u{20ac}\u{e9}\u{ff}"),
    ("SQL_Latin1_General_CP1_CI_AS", "\u{2122}\u{df}"),
    ("Latin1_General_BIN2", "\u{192}\u{fe}"),
    ("Latin1_General_100_CI_AI", "\u{160}\u{e0}"),
    ("Latin1_General_100_CI_AS_SC_UTF8", "\u{1f600}\u{3b1}"),
    ("Greek_CI_AS", "\u{3b1}\u{3a9}"),
    ("Cyrillic_General_CI_AS", "\u{416}\u{451}"),
    ("Polish_CI_AS", "\u{142}\u{17c}"),
    ("Turkish_CI_AS", "\u{131}\u{11f}"),
    ("Japanese_CI_AS", "\u{65e5}\u{672c}"),
    ("Chinese_PRC_CI_AS", "\u{4e2d}\u{6587}"),
    ("Korean_Wansung_CI_AS", "\u{d55c}\u{ae00}"),
    ("SQL_Latin1_General_CP437_CI_AS", "\u{251c}\u{e9}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn text_of_every_code_page_arrives_to_the_letter() {
    let mut server = Server::new().await;
    let columns: Vec<(String, String, Value<'static>)> = CODE_PAGES
        .iter()
        .flat_map(|(collation, words)| {
            ["varchar(40)", "char(12)", "varchar(max)", "nvarchar(40)"].map(|ty| {
                let literal = format!("N'a{words} '");
                let mut expected = format!("a{words} ");
                if ty == "char(12)" {
                    let bytes = bytes_of(collation, &expected);
                    expected.push_str(&" ".repeat(12 - bytes));
                }
                (format!("{ty} COLLATE {collation}"), literal, text(&expected))
            })
        })
        .collect();
    let cases: Vec<(&str, &str, Value<'static>)> = columns
        .iter()
        .map(|(ty, literal, value)| (ty.as_str(), literal.as_str(), value.clone()))
        .collect();
    let version = arrive(&mut server, &cases).await;
    for (column, (collation, _)) in
        version.columns[1..].iter().zip(CODE_PAGES.iter().flat_map(|page| [page; 4]))
    {
        assert_eq!(column.collation.as_deref(), Some(*collation));
    }
}

/// Bytes that a text takes in a collation's code page: `char` is padded to so many bytes.
fn bytes_of(collation: &str, text: &str) -> usize {
    let double = ["Japanese", "Chinese", "Korean"].iter().any(|name| collation.starts_with(name));
    let of = |c: char| match c {
        _ if collation.ends_with("_UTF8") => c.len_utf8(),
        c if double && !c.is_ascii() => 2,
        _ => 1,
    };
    text.chars().map(of).sum()
}
