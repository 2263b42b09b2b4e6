//! Login, encryption, transactions, errors and attentions.

use super::*;

async fn run(client: &mut TestClient, batch: &str) -> tiberius::Result<Vec<Vec<tiberius::Row>>> {
    client.simple_query(batch).await?.into_results().await
}

#[tokio::test]
async fn clients_log_in_under_every_encryption_both_sides_allow() {
    use EncryptionLevel::{NotSupported, Off, On, Required};
    let matrix = [
        (Encryption::NotSupported, vec![NotSupported], vec![On, Required]),
        (Encryption::Supported, vec![NotSupported, Off, On, Required], vec![]),
        (Encryption::Required, vec![Off, On, Required], vec![NotSupported]),
    ];
    for (server, welcome, refused) in matrix {
        let (double, _) = start_with(server).await;
        for level in welcome {
            let mut client = connect_with(&double, config(level))
                .await
                .unwrap_or_else(|error| panic!("{server:?} and {level:?}: {error}"));
            let rows = client
                .simple_query("count 100000")
                .await
                .expect("runs")
                .into_first_result()
                .await
                .expect("reads");
            assert_eq!(rows.len(), 100_000, "{server:?} and {level:?}");
        }
        for level in refused {
            assert!(
                connect_with(&double, config(level)).await.is_err(),
                "{server:?} and {level:?}"
            );
        }
        double.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_error_18456_and_a_wrong_database_4060() {
    let (double, _) = start().await;
    for level in [EncryptionLevel::NotSupported, EncryptionLevel::Off, EncryptionLevel::On] {
        let mut wrong = config(level);
        wrong.authentication(AuthMethod::sql_server("sa", "wrong"));
        let error = connect_with(&double, wrong).await.expect_err("refused");
        assert_eq!(number_of(error), 18456);
        let mut wrong = config(level);
        wrong.database("missing");
        let error = connect_with(&double, wrong).await.expect_err("refused");
        assert_eq!(number_of(error), 4060);
    }
}

#[tokio::test]
async fn every_packet_size_carries_every_message() {
    let (double, script) = start().await;
    let long: String = "ein langer Text, größer als jedes Paket; ".repeat(50_000);
    for size in [512, 4096, 16_384, 32_767, 100_000] {
        for level in [EncryptionLevel::NotSupported, EncryptionLevel::On] {
            let mut config = config(level);
            config.packet_size(size);
            let mut client = connect_with(&double, config).await.expect("logs in");
            let row = client
                .query("echo", &[&long])
                .await
                .expect("runs")
                .into_row()
                .await
                .expect("reads")
                .expect("a row");
            assert_eq!(row.get::<&str, _>(0), Some(long.as_str()), "{size} {level:?}");
        }
    }
    let seen = script.seen.lock().expect("not poisoned");
    assert!(matches!(&seen[0], Request::Statement { sql, params }
        if sql == "echo" && params[0].name == "@P1" && params[0].ty == SqlType::NVarChar(None)));
}

#[tokio::test]
async fn an_error_comes_with_all_its_parts_and_the_connection_goes_on() {
    let (double, _) = start().await;
    let mut client = connect(&double).await;
    let error = run(&mut client, "fail").await.expect_err("fails");
    let tiberius::error::Error::Server(token) = error else {
        panic!("not a server error: {error}");
    };
    assert_eq!((token.code(), token.class(), token.state()), (8134, 16, 1));
    assert_eq!((token.line(), token.procedure()), (3, "half"));
    assert_eq!(token.message(), "Divide by zero error encountered.");
    let rows = client.simple_query("count 3").await.expect("runs");
    assert_eq!(rows.into_first_result().await.expect("reads").len(), 3);
}

#[tokio::test]
async fn a_fatal_error_ends_the_connection() {
    let (double, _) = start().await;
    let mut client = connect(&double).await;
    let error = run(&mut client, "die").await.expect_err("fails");
    assert_eq!(number_of(error), 21);
    assert!(run(&mut client, "count 1").await.is_err());
}

#[tokio::test]
async fn a_value_of_the_wrong_type_never_reaches_the_client() {
    let (double, _) = start().await;
    let mut client = connect(&double).await;
    let error = run(&mut client, "broken").await.expect_err("fails");
    assert_eq!(number_of(error), 596);
}

#[tokio::test]
async fn transaction_requests_reach_the_session_and_their_descriptors_the_client() {
    let (double, script) = start().await;
    let mut client = connect(&double).await;
    client.begin_transaction().await.expect("begins");
    client.save_transaction("here").await.expect("saves");
    client.commit_transaction().await.expect("commits");
    client
        .begin_transaction_with_isolation(tiberius::IsolationLevel::Snapshot)
        .await
        .expect("begins");
    client.rollback_transaction().await.expect("rolls back");
    let seen = std::mem::take(&mut *script.seen.lock().expect("not poisoned"));
    assert_eq!(
        seen,
        [
            TransactionRequest::Begin(None),
            TransactionRequest::Save("here".into()),
            TransactionRequest::Commit { begin_again: false },
            TransactionRequest::Begin(Some(crate::IsolationLevel::Snapshot)),
            TransactionRequest::Rollback { savepoint: String::new(), begin_again: false },
        ]
        .map(Request::Transaction)
    );
}

#[tokio::test]
async fn a_request_that_produces_nothing_hears_of_a_lost_client() {
    let (double, script) = start().await;
    let mut client = connect(&double).await;
    let lost = tokio::spawn(async move {
        let _ = client.simple_query("wait").await;
    });
    script.waiting.notified().await;
    lost.abort();
    script.cancelled.notified().await;
    double.stop().await;
}

#[tokio::test]
async fn connections_do_not_wait_for_each_other() {
    let (double, script) = start().await;
    let mut first = connect(&double).await;
    let mut second = connect(&double).await;
    let waiting = tokio::spawn(async move {
        let _ = first.simple_query("wait").await;
    });
    script.waiting.notified().await;
    let rows = second.simple_query("count 5").await.expect("runs");
    assert_eq!(rows.into_first_result().await.expect("reads").len(), 5);
    waiting.abort();
    double.stop().await;
}

#[tokio::test]
async fn procedures_return_status_and_output_parameters() {
    let (double, _) = start().await;
    let mut client = connect(&double).await;
    let mut command = tiberius::Command::new("dbo.any_procedure");
    command.bind_param("@in", 7i32);
    command.bind_out_param("@text", "déjà vu");
    command.bind_out_param("@number", 42i64);
    let result =
        command.exec(&mut client).await.expect("sent").into_command_result().await.expect("reads");
    assert_eq!(result.return_code(), "dbo.any_procedure".len() as u32);
    assert_eq!(result.return_values_len(), 2);
    assert_eq!(result.try_return_value::<&str>("@text").expect("typed"), Some("déjà vu"));
    assert_eq!(result.try_return_value::<i64>("@number").expect("typed"), Some(42));
}
