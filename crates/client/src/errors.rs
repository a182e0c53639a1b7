//! What can go wrong for a command, told as one line with a remedy, and the exit code for it.

use std::fmt;
use std::io;

use tonic::Code;

use crate::EndpointFault;

/// Why a command did not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// An endpoint is not written as one.
    Endpoint(EndpointFault),
    /// None of the endpoints answers.
    Unreachable {
        /// All that were tried.
        endpoints: String,
        /// What the last one's connection said.
        cause: String,
    },
    /// One of several endpoints that were all asked for does not answer.
    Down(String),
    /// The server refused or failed.
    Refused(tonic::Status),
    /// A command's own argument makes no sense.
    Argument(String),
    /// What was looked for is not there.
    NotFound(String),
    /// The terminal or file that is written to is gone.
    Output(io::Error),
}

impl ClientError {
    /// The exit code of the process; `docs/exit-codes.md` is the list.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::NotFound(_) | Self::Output(_) => 1,
            Self::Endpoint(_) | Self::Argument(_) => 2,
            Self::Unreachable { .. } | Self::Down(_) => 3,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(fault) => fault.fmt(f),
            Self::Unreachable { endpoints, cause } => {
                write!(
                    f,
                    "none of {endpoints} answers ({cause}); is the server up, --endpoints right?"
                )
            }
            Self::Refused(status) if status.code() == Code::Unavailable => {
                write!(f, "{}; the cluster may be electing a leader, try again", status.message())
            }
            Self::Refused(status) => write!(f, "{} ({:?})", status.message(), status.code()),
            Self::Down(message) | Self::Argument(message) | Self::NotFound(message) => {
                f.write_str(message)
            }
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(status)
    }
}

impl From<EndpointFault> for ClientError {
    fn from(fault: EndpointFault) -> Self {
        Self::Endpoint(fault)
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
