//! A producer whose delivery reports are taken by a thread of its own, and awaited.
//!
//! librdkafka queues a report for each record; somebody has to take them. rdkafka's `poll` gives its
//! whole time to that, whatever arrives meanwhile, and spins when less than a millisecond of it is left:
//! a caller that polls in short steps until its records are delivered keeps a processor busy for as long
//! as the broker takes. So one thread polls in long steps, and only while there is a record
//! without its report; whoever needs to know waits to be told.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::client::KafkaContext;

/// How long one poll lasts: also what letting go of a producer may have to wait for.
const POLL: Duration = Duration::from_millis(100);

/// The pipeline's transactional producer.
pub(super) struct Producer {
    base: Arc<BaseProducer<KafkaContext>>,
    deliveries: Arc<Deliveries>,
    poller: Option<JoinHandle<()>>,
}

impl Deref for Producer {
    type Target = BaseProducer<KafkaContext>;

    fn deref(&self) -> &Self::Target {
        &self.base
    }
}

impl Producer {
    /// Starts the thread that takes the reports.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(base: BaseProducer<KafkaContext>) -> std::io::Result<Self> {
        let base = Arc::new(base);
        let deliveries = base.context().deliveries();
        let poller = std::thread::Builder::new().name("kafka-deliveries".to_owned()).spawn({
            let (base, deliveries) = (Arc::clone(&base), Arc::clone(&deliveries));
            move || {
                while deliveries.wait_for_work() {
                    base.poll(POLL);
                }
            }
        })?;
        Ok(Producer { base, deliveries, poller: Some(poller) })
    }

    /// Hands a record to librdkafka.
    ///
    /// # Errors
    /// Its queue is full, or it refuses the record.
    pub(super) fn hand_over(&self, record: BaseRecord<'_, [u8], [u8]>) -> Result<(), KafkaError> {
        // Before it is sent: the report must find it counted.
        self.deliveries.sent();
        self.base.send(record).map_err(|(error, _)| {
            self.deliveries.not_sent();
            error
        })
    }

    /// Waits until fewer records are without their report than now; `false` at the deadline, or when
    /// there are none.
    pub(super) fn wait_for_room(&self, deadline: Instant) -> bool {
        self.deliveries.wait_for_one(deadline)
    }

    /// Waits until every record sent has its report; `false` at the deadline.
    pub(super) fn drain(&self, deadline: Instant) -> bool {
        if !self.deliveries.wait_for_all(deadline) {
            return false;
        }
        // The last report's records are let go a moment after it was taken, and a commit that comes
        // before that waits for a tenth of a second.
        while self.base.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        true
    }

    /// The newest offset delivered to a partition.
    ///
    /// # Errors
    /// A record of this producer was not delivered.
    pub(super) fn newest(&self, topic: &str, partition: i32) -> KafkaResult<Option<u64>> {
        self.deliveries.newest(topic, partition)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.deliveries.stop();
        if let Some(poller) = self.poller.take() {
            let _ = poller.join();
        }
    }
}

/// What is known of a producer's records.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    state: Mutex<ProducerState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ProducerState {
    /// Records without their report.
    waiting: u64,
    /// Records that have theirs.
    reported: u64,
    /// Nobody will send any more.
    stopped: bool,
    /// Newest offset of each topic's partitions.
    newest: HashMap<String, HashMap<i32, i64>>,
    /// The first record that was not delivered.
    failed: Option<KafkaError>,
}

impl Deliveries {
    fn sent(&self) {
        let mut state = self.lock();
        state.waiting += 1;
        if state.waiting == 1 {
            self.changed.notify_all();
        }
    }

    fn not_sent(&self) {
        self.lock().waiting -= 1;
    }

    /// Takes a report.
    pub(super) fn report(&self, result: &DeliveryResult<'_>) {
        let mut state = self.lock();
        match result {
            Ok(message) => state.delivered(message.topic(), message.partition(), message.offset()),
            Err((error, _)) => {
                tracing::debug!(%error, "a record was not delivered");
                state.failed.get_or_insert_with(|| error.clone());
            }
        }
        state.waiting = state.waiting.saturating_sub(1);
        state.reported += 1;
        self.changed.notify_all();
    }

    fn newest(&self, topic: &str, partition: i32) -> KafkaResult<Option<u64>> {
        let state = self.lock();
        match &state.failed {
            Some(error) => Err(error.clone()),
            None => {
                let offset = state.newest.get(topic).and_then(|p| p.get(&partition));
                Ok(offset.and_then(|offset| u64::try_from(*offset).ok()))
            }
        }
    }

    /// Waits until a record is without its report; `false` when there will be none.
    fn wait_for_work(&self) -> bool {
        let idle = |state: &mut ProducerState| state.waiting == 0 && !state.stopped;
        let state = self.changed.wait_while(self.lock(), idle);
        !state.unwrap_or_else(PoisonError::into_inner).stopped
    }

    fn wait_for_one(&self, deadline: Instant) -> bool {
        let state = self.lock();
        let before = state.reported;
        self.wait_until(state, deadline, |state| state.waiting > 0 && state.reported == before)
            .reported
            > before
    }

    fn wait_for_all(&self, deadline: Instant) -> bool {
        self.wait_until(self.lock(), deadline, |state| state.waiting > 0).waiting == 0
    }

    fn wait_until<'a>(
        &'a self,
        state: MutexGuard<'a, ProducerState>,
        deadline: Instant,
        mut unfinished: impl FnMut(&mut ProducerState) -> bool,
    ) -> MutexGuard<'a, ProducerState> {
        let patience = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(state, patience, |state| unfinished(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// What is in it is whole whenever the lock is free.
    fn lock(&self) -> MutexGuard<'_, ProducerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerState {
    fn delivered(&mut self, topic: &str, partition: i32, offset: i64) {
        if !self.newest.contains_key(topic) {
            self.newest.insert(topic.to_owned(), HashMap::new());
        }
        if let Some(partitions) = self.newest.get_mut(topic) {
            let newest = partitions.entry(partition).or_insert(-1);
            *newest = offset.max(*newest);
        }
    }
}
