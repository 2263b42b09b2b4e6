//! Scenarios and chaos, over every log.
//!
//! Each scenario is one async function of a [`LogKind`]; [`over_each_log!`] makes a test of it for
//! the embedded log and one for Kafka.

/// Makes the tests of a module's scenarios: `embedded::<name>` and `kafka::<name>`.
macro_rules! over_each_log {
    ($($scenario:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    super::$scenario(lockstep_testkit::harness::LogKind::Embedded).await.unwrap();
                }
            )+
        }
        mod kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    super::$scenario(lockstep_testkit::harness::LogKind::Kafka).await.unwrap();
                }
            )+
        }
    };
}
pub(crate) use over_each_log;

mod bad_input;
mod chaos;
mod scenarios;
