use lockstep_common::Code;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;

use lockstep_common::Disposition;
use lockstep_common::config::Secret;
use mssql_double::tds::LoginFault;
use mssql_double::{Config as DoubleConfig, Double, SqlError};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;

const PASSWORD: &str = "Sa-Passw0rd!";

async fn double() -> Double {
    Double::start(DoubleConfig::in_memory(PASSWORD)).await.expect("the double starts")
}

fn pool(address: SocketAddr) -> Pool {
    let source = config::Source {
        host: address.ip().to_string(),
        port: address.port(),
        database: "master".to_owned(),
        user: "sa".to_owned(),
        password: Some(Secret::new(PASSWORD)),
        encrypt: Encrypt::Off,
        ..config::Source::default()
    };
    Arc::into_inner(Pool::new(&source, 2, 1 << 20).expect("a pool")).expect("nobody else has it")
}

async fn asks(lease: &mut Lease) -> Result<usize, Failure> {
    Ok(lease.batch("SELECT 1", "ask").await?.len())
}

/// A firewall: it forgets connections and tells neither end.
struct Firewall {
    address: SocketAddr,
    generation: watch::Sender<usize>,
    made: Arc<AtomicUsize>,
}

impl Firewall {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let generation = watch::Sender::new(0);
        let made = Arc::new(AtomicUsize::new(0));
        let (changes, count) = (generation.clone(), Arc::clone(&made));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut forgotten = changes.subscribe();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.expect("the server listens");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = forgotten.changed() => {
                            // Both ends stay open, and nothing passes.
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Firewall { address, generation, made }
    }

    fn forget(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_a_firewall_forgot_are_not_used_again() {
    let double = double().await;
    let firewall = Firewall::before(double.addr()).await;
    let pool = Arc::new(Pool { trusted: Duration::ZERO, ..pool(firewall.address) });
    let (mut one, mut two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!((asks(&mut one).await.unwrap(), asks(&mut two).await.unwrap()), (1, 1));
    one.keep();
    two.keep();
    firewall.forget();
    let mut lease = pool.get().await.expect("another connection");
    assert_eq!(asks(&mut lease).await.unwrap(), 1);
    assert!(pool.lock().is_empty(), "the other one is as old");
    assert_eq!(firewall.made.load(Ordering::Relaxed), 3);
    lease.keep();
    asks(&mut pool.get().await.unwrap()).await.expect("one that answers is used again");
    assert_eq!(firewall.made.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_sent_on_is_followed() {
    let (gateway, server) = (double().await, double().await);
    let host = server.addr().ip().to_string();
    let port = server.addr().port();
    gateway.faults().answer_logins(Some(LoginFault::Route { host, port }));
    let pool = Arc::new(pool(gateway.addr()));
    let mut lease = pool.get().await.expect("it is followed");
    lease.batch("CREATE DATABASE here", "make").await.unwrap();
    let sql = "SELECT name FROM sys.databases WHERE name = N'here'";
    lease.keep();
    gateway.faults().answer_logins(None);
    let direct = Arc::new(self::pool(gateway.addr()));
    let there = direct.get().await.unwrap().batch(sql, "look").await.unwrap();
    assert!(there[0].is_empty(), "the statement ran at the gateway");
    let there = pool.get().await.unwrap().batch(sql, "look").await.unwrap();
    assert_eq!(there[0].len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_sent_in_circles_is_retried_later() {
    let double = double().await;
    let (host, port) = (double.addr().ip().to_string(), double.addr().port());
    double.faults().answer_logins(Some(LoginFault::Route { host, port }));
    let failure = Arc::new(pool(double.addr())).get().await.map(drop).unwrap_err();
    assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
    assert!(failure.message.contains("sent on"), "{failure}");
}

/// What a first login comes to that the server answers with an error.
async fn refused(number: i32, class: u8, established: bool) -> Failure {
    let double = double().await;
    let error = SqlError::new(number, class, 1, "no");
    double.faults().answer_logins(Some(LoginFault::Error(error)));
    let pool = pool(double.addr());
    if established {
        pool.established();
    }
    Arc::new(pool).get().await.map(drop).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_of_itself_at_a_login_passes() {
    let known = [17187, 17188, 17197, 18401, 18451, 18461, 924, 945, 982, 988, 4221, 40544, 40553];
    // Numbers that are not listed anywhere, and whatever the severity.
    for (number, class) in
        known.map(|number| (number, 14)).into_iter().chain([(54_321, 16), (207, 16)])
    {
        let failure = refused(number, class, false).await;
        assert_eq!(failure.disposition(), Disposition::Retry, "{number}: {failure}");
        assert!(failure.message.contains(&number.to_string()), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_halt_or_are_waited_for_and_a_database_only_while_the_log_does_not_know_it() {
    for established in [false, true] {
        for number in [18456, 18470, 18486, 18488] {
            let failure = refused(number, 14, established).await;
            let code = if established { Code::SourceLoginRefused } else { Code::SourceLogin };
            assert_eq!(failure.code, code, "{failure}");
        }
    }
    for number in [4060, 4064] {
        assert_eq!(refused(number, 11, false).await.disposition(), Disposition::Halt);
        assert_eq!(refused(number, 11, true).await.disposition(), Disposition::Retry);
    }
}
