//! Files and variables, right and wrong.

use std::path::Path;

use toml::Table;

use super::*;

const FILE: &str = r#"
    [pipeline]
    name = "shop"
    [source]
    host = "db1"
    database = "shop"
    user = "lockstep"
    password = "s3cret"
    [log]
    kind = "kafka"
    brokers = "k1:9092"
    properties = { "sasl.password" = "x" }
    [apply.main]
    host = "pg1"
    database = "shop"
    user = "lockstep"
    spool = "spool"
"#;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

#[test]
fn variables_override_the_file() {
    let env = variables(&[
        ("LOCKSTEP_SOURCE__PORT", "1500"),
        ("LOCKSTEP_SOURCE__PASSWORD", "007"),
        ("LOCKSTEP_APPLY__MAIN__SPOOL_BUDGET", "1 GiB"),
        ("LOCKSTEP_CAPTURE__POLL_INTERVAL", "1s"),
        ("LOCKSTEP_FAIL_POINT", "x:1"),
        ("HOME", "/"),
    ]);
    let config = parse(FILE, "test", env).unwrap();
    let source = config.source.unwrap();
    assert_eq!(source.port, 1500);
    assert_eq!(source.password.unwrap().expose(), "007");
    assert_eq!(config.apply["main"].spool_budget.as_u64(), 1 << 30);
    assert_eq!(config.capture.poll_interval.as_secs(), 1);
}

fn refused(text: &str, pairs: &[(&str, &str)]) -> String {
    parse(text, "lockstep.toml", variables(pairs)).unwrap_err().to_string()
}

fn with(section: &str, line: &str) -> String {
    FILE.replace(section, &format!("{section}\n{line}"))
}

#[test]
fn a_secret_is_its_text_sign_by_sign() {
    let without = FILE.replace("password = \"s3cret\"", "");
    for file in [FILE, &without] {
        for text in [
            "20240131", "true", "1e5", "0x1F", "'abc'", "\"abc\"", "[1]", "{a=1}", "", " x ",
            "é\\n",
        ] {
            let env = variables(&[
                ("LOCKSTEP_SOURCE__PASSWORD", text),
                ("LOCKSTEP_APPLY__MAIN__PASSWORD", text),
                ("LOCKSTEP_LOG__PROPERTIES__SASL_PASSWORD", text),
                ("LOCKSTEP_LOG__PROPERTIES__SSL_KEY_PASSWORD", text),
            ]);
            let config = parse(file, "test", env).unwrap();
            assert_eq!(config.source.unwrap().password.unwrap().expose(), text);
            assert_eq!(config.apply["main"].password.as_ref().unwrap().expose(), text);
            let super::Log::Kafka(log) = config.log else { panic!("Kafka") };
            assert_eq!(log.properties["sasl.password"].expose(), text);
            assert_eq!(log.properties["ssl.key.password"].expose(), text);
        }
    }
}

#[test]
fn no_message_has_a_secret_in_it() {
    let line = "password = \"s3cret\"";
    for value in [
        "20240131",
        "-20240131",
        "20240131.5",
        "[20240131]",
        "{ a = 20240131 }",
        "2024-01-31",
        "20240131abc",
        "\"20240131",
        "'''20240131",
        "true20240131",
    ] {
        let message = refused(&FILE.replace(line, &format!("password = {value}")), &[]);
        assert!(!message.contains("2024"), "{value}: {message}");
        assert!(message.contains("lockstep.toml, line "), "{value}: {message}");
        let inside = format!("\"sasl.password\" = {value} ");
        let message = refused(&FILE.replace("\"sasl.password\" = \"x\" ", &inside), &[]);
        assert!(!message.contains("2024"), "{value}: {message}");
    }
    let message = refused(&FILE.replace(line, "password = 20240131"), &[]);
    assert!(message.contains("password = \"the password\""), "{message}");
    // A secret that went to the wrong key is no less one.
    for name in ["PORT", "ENCRYPT_", "TRUST_SERVER_CERTIFICATE", "TABLES", "PASSWORD__X"] {
        let message = refused(FILE, &[(&format!("LOCKSTEP_SOURCE__{name}"), "hunter2")]);
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.contains(&format!("LOCKSTEP_SOURCE__{name}")), "{message}");
    }
}

#[test]
fn a_variable_that_is_no_key_is_refused() {
    for (name, hint) in [
        ("LOCKSTEP_SOURCE_PASSWORD", "LOCKSTEP_SOURCE__PASSWORD"),
        ("LOCKSTEP_APPLY_MAIN_PASSWORD", "LOCKSTEP_APPLY__MAIN__PASSWORD"),
        ("LOCKSTEP_LOG_PATH", "LOCKSTEP_LOG__PATH"),
        ("LOCKSTEP_SOURCE", ""),
        ("LOCKSTEP_SOURCE__", ""),
        ("LOCKSTEP___PASSWORD", ""),
        ("LOCKSTEP_SOURCE____PASSWORD", ""),
        ("LOCKSTEP_SERVICE_HOST", ""),
        ("LOCKSTEP_SORCE__PASSWORD", ""),
        ("LOCKSTEP_SOURCE__PASWORD", "password"),
        ("LOCKSTEP_APPLY__MIAN__PASSWORD", ""),
        ("LOCKSTEP_APPLY__PASSWORD", "[apply.main]"),
        ("LOCKSTEP_CONFIGURATION", ""),
        ("LOCKSTEP_", ""),
    ] {
        let message = refused(FILE, &[(name, "hunter2")]);
        assert!(message.contains(&format!("variable {name}")), "{message}");
        assert!(message.contains(hint) && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn every_variable_of_the_repository_is_a_key_or_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(".g")
            || name == ".run"
            || name == "target"
            || name == "variables.rs"
            || name == "errors.md"
            || path.ends_with("config/tests.rs")
        {
            continue;
        }
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for rest in text.split("LOCKSTEP_").skip(1) {
            let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            let name = format!("LOCKSTEP_{}", &rest[..end.unwrap_or(rest.len())]);
            // The last is the name of a file.
            if name.contains("__") || name.ends_with('_') || name == "LOCKSTEP_SPOOL" {
                continue;
            }
            seen += 1;
            let kept = variables::keys(&Table::new(), [(name.clone(), String::new())]);
            assert!(kept.is_ok_and(|keys| keys.is_empty()), "{name} in {}", path.display());
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn variables_reach_every_kind_of_key() {
    let file = FILE.replace("[apply.main]", "[apply.Pg-Main]");
    let env = variables(&[
        ("LOCKSTEP_SOURCE__TABLES", "[\"dbo.a\", \"dbo.b\"]"),
        ("LOCKSTEP_SOURCE__TRUST_SERVER_CERTIFICATE", "true"),
        ("LOCKSTEP_LOG__REPLICATION", "3"),
        ("LOCKSTEP_LOG__RETENTION", "7days"),
        ("LOCKSTEP_LOG__TRANSACTION_BYTES", "1 MiB"),
        ("LOCKSTEP_CAPTURE__HTTP", "127.0.0.1:9401"),
        ("LOCKSTEP_APPLY__PG_MAIN__SCHEMAS", "{ dbo = \"public\" }"),
        ("LOCKSTEP_APPLY__PG_MAIN__TYPES__ROWVERSION", "bigint"),
        ("LOCKSTEP_APPLY__PG_MAIN__GROUP_COMMIT", "7"),
        ("LOCKSTEP_APPLY__PG_MAIN__ON_CONFLICT", "converge"),
        ("LOCKSTEP_APPLY__PG_MAIN__USER", "1234"),
    ]);
    let config = parse(&file, "test", env).unwrap();
    let source = config.source.unwrap();
    assert_eq!(source.tables, ["dbo.a", "dbo.b"]);
    assert!(source.trust_server_certificate);
    let super::Log::Kafka(log) = config.log else { panic!("Kafka") };
    assert_eq!((log.replication, log.transaction_bytes.as_u64()), (3, 1 << 20));
    assert_eq!(log.retention.unwrap().as_secs(), 7 * 86400);
    assert_eq!(config.capture.http.unwrap().port(), 9401);
    let apply = &config.apply["Pg-Main"];
    assert_eq!(apply.schemas["dbo"], "public");
    assert_eq!(apply.types["rowversion"], "bigint");
    assert_eq!(apply.group_commit.get(), 7);
    assert_eq!(apply.user, "1234");
    let both = file + "[apply.pg_main]\nhost = \"h\"\n";
    let message = refused(&both, &[("LOCKSTEP_APPLY__PG_MAIN__USER", "x")]);
    assert!(message.contains("Pg-Main") && message.contains("pg_main"), "{message}");
}

#[test]
fn a_wrong_form_is_answered_with_the_right_one() {
    for (section, line, right) in [
        ("[apply.main]", "memory = \"64 mebi\"", "memory = \"64 MiB\""),
        ("[apply.main]", "spool_budget = true", "spool_budget = \"10 GiB\""),
        ("[apply.main]", "group_commit = \"many\"", "group_commit = 1"),
        ("[apply.main]", "group_commit = 0", "group_commit = 1"),
        ("[apply.main]", "group_commit_time = 50", "group_commit_time = \"50ms\""),
        ("[apply.main]", "create_tables = \"perhaps\"", "create_tables = true"),
        ("[apply.main]", "schemas = \"public\"", "schemas = { dbo = \"public\" }"),
        ("[apply.main]", "http = 9402", "http = \"127.0.0.1:9402\""),
        ("[apply.main]", "http = \"localhost\"", "http = \"127.0.0.1:9402\""),
        ("[apply.main]", "on_conflict = 1", "on_conflict = \"halt\""),
        ("[source]", "encrypt = true", "encrypt = \"required\""),
        ("[source]", "encrypt = 1", "encrypt = \"required\""),
        ("[source]", "encrypt = \"on\"", "encrypt = \"required\""),
        ("[source]", "port = 70000", "port = 1433"),
        ("[source]", "port = \"abc\"", "port = 1433"),
        ("[source]", "tables = \"dbo.orders\"", "tables = [\"dbo.orders\""),
        ("[source]", "ca_file = [1]", "ca_file = \"/etc"),
        ("[log]", "replication = \"x\"", "replication = 3"),
        ("[log]", "retention = 7", "retention = \"7days\""),
        ("[pipeline]", "task = 0", "task = \"full_load_and_cdc\""),
    ] {
        let message = refused(&with(section, line), &[]);
        let key = line.split_once(" = ").unwrap().0;
        let place = format!("{}.{key}`", &section[1..section.len() - 1]);
        assert!(message.contains(right) && message.contains(&place), "{line}: {message}");
        assert!(message.contains("lockstep.toml, line "), "{line}: {message}");
    }
    let polled = format!("{FILE}\n[capture]\npoll_interval = 250\n");
    assert!(refused(&polled, &[]).contains("poll_interval = \"250ms\""));
    let message = refused(&FILE.replace("[apply.main]", "[apply]"), &[]);
    assert!(message.contains("[apply.main]"), "{message}");
    let message = refused(&FILE.replace("kind = \"kafka\"", "kind = \"embedded\""), &[]);
    assert!(message.contains("`brokers` belongs to kind = \"kafka\""), "{message}");
    let message = refused(&FILE.replace("spool = \"spool\"", ""), &[]);
    assert!(message.contains("`apply.main.spool` is missing"), "{message}");
    let message = refused("[log]\nkind = \"embedded\"\npath = \"x\"\n", &[]);
    assert!(message.contains("`pipeline` is missing"), "{message}");
}

#[test]
fn the_example_is_right_and_has_every_key() {
    let config = parse(explain::EXAMPLE, "example.toml", []).unwrap();
    let all = serde_json::to_value(&config).unwrap();
    let mut wanting = vec![(Vec::new(), &all)];
    while let Some((path, value)) = wanting.pop() {
        let leaf = matches!(
            path.last().map(String::as_str),
            Some("properties" | "schemas" | "types" | "columns")
        );
        match value {
            serde_json::Value::Object(keys) if !leaf => {
                let below = |(key, value)| ([&path[..], &[String::clone(key)]].concat(), value);
                wanting.extend(keys.iter().map(below));
            }
            _ => assert!(
                explain::example(&path).is_some(),
                "add `{}` to common/src/config/example.toml",
                path.join(".")
            ),
        }
    }
}

#[test]
fn unknown_keys_are_named() {
    let wrong = FILE.replace("host = \"pg1\"", "host = \"pg1\"\nhosst = 1");
    let message = parse(&wrong, "test", []).unwrap_err().to_string();
    assert!(message.contains("hosst"), "{message}");
    let env = variables(&[("LOCKSTEP_SOURCE__PROT", "1")]);
    let message = parse(FILE, "test", env).unwrap_err().to_string();
    assert!(message.contains("prot"), "{message}");
}

#[test]
fn tables_are_dropped_only_for_somebody_who_says_so_twice() {
    let drop = FILE.replace("host = \"pg1\"", "host = \"pg1\"\nprepare = \"drop_and_create\"");
    let message = parse(&drop, "test", []).unwrap_err().to_string();
    assert!(message.contains("apply.main.prepare") && message.contains("drop_tables"));
    let meant = drop.replace("host = \"pg1\"", "host = \"pg1\"\ndrop_tables = true");
    assert_eq!(parse(&meant, "test", []).unwrap().apply["main"].prepare, Prepare::DropAndCreate);
    let env = variables(&[("LOCKSTEP_CAPTURE__CHUNK_ROWS", "0")]);
    assert!(parse(FILE, "test", env).unwrap_err().to_string().contains("capture.chunk_rows"));
}

#[test]
fn types_are_mapped_by_names_that_have_dots_and_brackets() {
    let mapped = FILE.to_owned()
        + "key_collation = \"icu\"\ninvalid_text = \"replace\"\noffset_columns = \"_offset\"\n\
           [apply.main.types]\n\"datetime2(7)\" = \"text\"\nrowversion = \"bigint\"\n\
           [apply.main.columns]\n\"dbo.orders.note\" = \"citext\"\n";
    let config = parse(&mapped, "test", []).unwrap();
    let apply = &config.apply["main"];
    assert_eq!(apply.types["datetime2(7)"], "text");
    assert_eq!(apply.columns["dbo.orders.note"], "citext");
    assert_eq!(apply.offset_columns.as_deref(), Some("_offset"));
    assert_eq!(apply.key_collation, crate::config::KeyCollation::Icu);
    assert_eq!(apply.invalid_text, crate::config::InvalidText::Replace);
    let empty = FILE.to_owned() + "offset_columns = \"\"\n";
    assert!(parse(&empty, "test", []).unwrap_err().to_string().contains("offset_columns"));
    let wrong = FILE.to_owned() + "key_collation = \"nocase\"\n";
    assert!(parse(&wrong, "test", []).unwrap_err().to_string().contains("nocase"));
}

#[test]
fn secrets_are_not_printed() {
    let config = parse(FILE, "test", []).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(!toml::to_string(&config).unwrap().contains("s3cret"));
}
