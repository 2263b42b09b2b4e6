//! The wire: a TDS 7.4 server ([MS-TDS]) in front of the engine.
//!
//! A connection is two tasks and, while a request runs, one blocking thread:
//!
//! ```text
//!  socket ─► reader task ─► requests ─► connection task ─► blocking thread: engine
//!                │ attention                 ▲                     │ rows
//!                └──────► Interrupt ─────────┼─────────────────────┤
//!  socket ◄───────────────────────────────── └── bounded channel ◄─┘
//! ```
//!
//! [`packet`] cuts the byte stream into messages, [`prelogin`], [`tls`] and [`login`] open the
//! connection, [`request`], [`rpc`], [`decode`] and [`prepared`] turn messages into
//! [`Request`](crate::Request)s, [`sink`], [`encode`] and [`tokens`] turn results into bytes,
//! [`response`] carries them, [`connection`] runs it all, [`server`] listens.

mod backend;
mod bulk;
mod connection;
mod decode;
mod encode;
mod faults;
mod interrupt;
mod login;
mod packet;
mod prelogin;
mod prepared;
mod reader;
mod request;
mod response;
mod rpc;
mod server;
mod sink;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod types;

pub(crate) use backend::{Backend, Canceller, Credentials, Session};
pub use faults::{Faults, LoginFault, SlowChunks};
pub use server::Encryption;
pub(crate) use server::Wire;
