//! Mutated answers of a server: `corpus/answers` has them as PostgreSQL sends them.

use lockstep_fuzz::{Kind, attack};
use tokio::io::duplex;

use super::*;

fn expectations() -> Arc<Expectations> {
    let expected = Arc::new(Expectations::default());
    let note = |rows| Note { rows, counted: true, ..Note::default() };
    expected.lock().extend([
        Expected::Statement { note: note(1) },
        Expected::Statement { note: note(1) },
        Expected::Ready,
        Expected::Statement { note: note(100) },
        Expected::Ready,
    ]);
    expected
}

/// A commit counts when what was expected before it came, and never more often than was expected.
#[test]
fn answers_to_what_is_sent() {
    attack(env!("CARGO_MANIFEST_DIR"), "answers", Kind::Bytes, |answers| {
        let expected = expectations();
        let state = Arc::new(State {
            committed: AtomicU64::new(0),
            moved: Mutex::new(Instant::now()),
            latched: Mutex::default(),
            changed: Arc::default(),
        });
        let socket: Box<dyn Duplex> = Box::new(duplex(1).0);
        let (read, _) = tokio::io::split(socket);
        let input = BytesMut::from(answers);
        let mut receiver =
            Receiver { read, input, expected: Arc::clone(&expected), state: Arc::clone(&state) };
        let drained = receiver.drain();
        let open = expected.lock().iter().filter(|one| matches!(one, Expected::Ready)).count();
        let committed = state.committed.load(Ordering::Acquire);
        match drained {
            Ok(()) => assert_eq!(committed as usize, 2 - open),
            // What was answered in the wrong place is not a commit.
            Err(_) => assert!(committed as usize <= 2 - open),
        }
    });
}

/// The conversation before the stream, in which nothing is pipelined: it ends, with an answer or an error.
#[test]
fn answers_that_are_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    attack(env!("CARGO_MANIFEST_DIR"), "answers", Kind::Bytes, |answers| {
        runtime.block_on(async {
            let (here, mut there) = duplex(1 << 17);
            there.write_all(answers).await.expect("there is room");
            there.shutdown().await.expect("the end is told");
            let mut socket = Socket { stream: Box::new(here), backend_pid: 0 };
            let _ = socket::simple_query(&mut socket, "SELECT 1").await;
        });
    });
}
