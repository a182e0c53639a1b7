//! The etcd data model as a replicated state machine.

mod error;
mod lessor;
mod request;
mod response;
mod store;
mod txn_keys;
mod validate;
mod watch;

pub use error::RequestError;
pub use lessor::{LeaseRemaining, Lessor};
pub use request::*;
pub use response::*;
pub use store::*;
pub use validate::*;
pub use watch::*;
