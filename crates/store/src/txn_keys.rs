//! The rule that one transaction writes a key once.

use crate::error::RequestError;
use crate::request::RequestOp;
pub(crate) fn check_intervals(_ops: &[RequestOp]) -> Result<(), RequestError> { Ok(()) }
