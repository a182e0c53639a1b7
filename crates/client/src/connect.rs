//! From endpoints as people write them to channels.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::ClientError;

/// A range answer may be large, and the default window of 64 KiB would make it many round trips.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the servers are: `host:port` or `http://host:port`, several with commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(Vec<String>);

/// Why a text names no endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointFault {
    /// Nothing stands between two commas, or at all.
    Empty,
    /// It begins with another scheme than `http`.
    Scheme(String),
    /// There is no port.
    NoPort(String),
}

impl fmt::Display for EndpointFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an endpoint is empty; write host:port,host:port"),
            Self::Scheme(text) => {
                write!(f, "{text}: only http is spoken yet; write http://host:port")
            }
            Self::NoPort(text) => write!(f, "{text}: the port is missing; write host:port"),
        }
    }
}

impl std::error::Error for EndpointFault {}

impl FromStr for Endpoints {
    type Err = EndpointFault;

    fn from_str(text: &str) -> Result<Self, EndpointFault> {
        let endpoints: Result<Vec<String>, _> = text.split(',').map(str::trim).map(one).collect();
        endpoints.map(Self)
    }
}

fn one(text: &str) -> Result<String, EndpointFault> {
    let authority = match text.split_once("://") {
        Some(("http", rest)) => rest.trim_end_matches('/'),
        Some(_) => return Err(EndpointFault::Scheme(text.to_owned())),
        None => text,
    };
    if authority.is_empty() {
        return Err(EndpointFault::Empty);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(authority.to_owned())
        }
        _ => Err(EndpointFault::NoPort(text.to_owned())),
    }
}

impl Endpoints {
    /// Each endpoint as `host:port`.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(String::as_str)
    }

    /// A connection to the first endpoint that answers.
    ///
    /// # Errors
    /// None does.
    pub async fn connect_any(&self) -> Result<Channel, ClientError> {
        let mut cause = String::new();
        for authority in &self.0 {
            match connect(authority).await {
                Ok(channel) => return Ok(channel),
                Err(ClientError::Unreachable { cause: last, .. }) => cause = last,
                Err(other) => return Err(other),
            }
        }
        Err(ClientError::Unreachable { endpoints: self.to_string(), cause })
    }

    /// `count` connections, spread evenly over all endpoints. Each must answer.
    ///
    /// # Errors
    /// One does not.
    pub async fn connect_each(&self, count: usize) -> Result<Vec<Channel>, ClientError> {
        let mut channels = Vec::with_capacity(count);
        for authority in self.0.iter().cycle().take(count) {
            channels.push(connect(authority).await?);
        }
        Ok(channels)
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// A connection to one endpoint.
pub(crate) async fn connect(authority: &str) -> Result<Channel, ClientError> {
    let unreachable = |error: tonic::transport::Error| {
        let cause = root_cause(&error);
        ClientError::Unreachable { endpoints: authority.to_owned(), cause }
    };
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(unreachable)?;
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect()
        .await
        .map_err(unreachable)
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, EndpointFault>) {
        let parsed = text.parse::<Endpoints>().map(|endpoints| endpoints.to_string());
        assert_eq!(parsed, expect.map(str::to_owned));
    }

    #[test]
    fn endpoints_are_written_as_etcdctl_takes_them() {
        check("127.0.0.1:2379", Ok("127.0.0.1:2379"));
        check("http://a:1/, b:2", Ok("a:1,b:2"));
        check("[::1]:2379", Ok("[::1]:2379"));
        check("", Err(EndpointFault::Empty));
        check("a:1,,b:2", Err(EndpointFault::Empty));
        check("localhost", Err(EndpointFault::NoPort("localhost".to_owned())));
        check("https://a:1", Err(EndpointFault::Scheme("https://a:1".to_owned())));
    }
}
