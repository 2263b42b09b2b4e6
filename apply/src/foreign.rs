//! Records that another version wrote: brought to our own schema as they are read.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use lockstep_common::Failure;
use lockstep_common::codec::{self, DecodeError, Header};
use lockstep_log::{Log, Schemas};

/// Reads records of any writer's schema.
pub(crate) struct Foreign {
    log: Arc<dyn Log>,
    /// Opened at the first record that needs it.
    schemas: Option<Schemas>,
}

impl Foreign {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Foreign { log, schemas: None }
    }

    /// The record in our schema, and its header; none for one that may be passed over.
    ///
    /// # Errors
    /// `Halt` for one that cannot be read, `Retry` when the log is away.
    pub(crate) async fn read(
        &mut self,
        payload: Bytes,
    ) -> Result<Option<(Bytes, Header)>, Failure> {
        let fingerprint = match codec::header(&payload) {
            Ok(header) => return Ok(Some((payload, header))),
            Err(DecodeError::UnknownSchema(fingerprint)) => fingerprint,
            Err(error) => return Err(error.into()),
        };
        let schemas = match &mut self.schemas {
            Some(schemas) => schemas,
            none => none.insert(Schemas::open(self.log.as_ref()).await?),
        };
        let decoder = schemas.writer_schema(fingerprint).await?;
        let translated = match decoder.translate(&payload) {
            Ok(Cow::Borrowed(_)) => payload.clone(),
            Ok(Cow::Owned(bytes)) => Bytes::from(bytes),
            Err(DecodeError::UnknownKind { skippable: true, .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let header = codec::header(&translated)?;
        Ok(Some((translated, header)))
    }
}
