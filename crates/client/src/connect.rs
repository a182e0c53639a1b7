//! From endpoints as people write them to channels.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use api::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::ClientError;
use crate::tls::{Connector, TlsOptions};

/// What stands before an endpoint that TLS is spoken with.
const SECURE: &str = "https://";

/// A range answer may be large, and the default window of 64 KiB would make it many round trips.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the servers are: `host:port`, `http://host:port` or `https://host:port`, several with
/// commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Each as `host:port`, or as `https://host:port`.
    authorities: Vec<String>,
    /// Who asks; nobody where authentication is off.
    user: Option<User>,
    tls: TlsOptions,
}

/// A user and the password, as `name:password`; the password may come apart.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    password: Option<String>,
}

impl User {
    /// The same with this password, if it has none yet.
    #[must_use]
    pub fn or_password(self, password: Option<&str>) -> Self {
        let password = self.password.or_else(|| password.map(str::to_owned));
        Self { password, ..self }
    }

    /// Its name, if there is no password yet.
    #[must_use]
    pub fn lacks_password(&self) -> Option<&str> {
        self.password.is_none().then_some(&self.name)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for User {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some((name, password)) => {
                Self { name: name.to_owned(), password: Some(password.to_owned()) }
            }
            None => Self { name: text.to_owned(), password: None },
        })
    }
}

/// A connection that signs each request with the token of its user, if there is one.
pub(crate) type Connection = InterceptedService<Channel, Sign>;

/// What is put on a request.
#[derive(Clone, Debug)]
pub(crate) struct Sign(Option<MetadataValue<Ascii>>);

impl Interceptor for Sign {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// Why a text names no endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointFault {
    /// Nothing stands between two commas, or at all.
    Empty,
    /// It begins with another scheme than `http` or `https`.
    Scheme(String),
    /// There is no port.
    NoPort(String),
}

impl fmt::Display for EndpointFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an endpoint is empty; write host:port,host:port"),
            Self::Scheme(text) => {
                write!(f, "{text}: no such scheme; write http://host:port or https://host:port")
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
        Ok(Self { authorities: endpoints?, user: None, tls: TlsOptions::default() })
    }
}

fn one(text: &str) -> Result<String, EndpointFault> {
    let (scheme, authority) = match text.split_once("://") {
        Some(("http", rest)) => ("", rest.trim_end_matches('/')),
        Some(("https", rest)) => (SECURE, rest.trim_end_matches('/')),
        Some(_) => return Err(EndpointFault::Scheme(text.to_owned())),
        None => ("", text),
    };
    if authority.is_empty() {
        return Err(EndpointFault::Empty);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(format!("{scheme}{authority}"))
        }
        _ => Err(EndpointFault::NoPort(text.to_owned())),
    }
}

impl Endpoints {
    /// Each endpoint as `host:port`, or as `https://host:port`.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.authorities.iter().map(String::as_str)
    }

    /// The same, asked as a user.
    #[must_use]
    pub fn signed(self, user: Option<User>) -> Self {
        Self { user, ..self }
    }

    /// The same, with certificates.
    #[must_use]
    pub fn secured(self, tls: TlsOptions) -> Self {
        Self { tls, ..self }
    }

    /// A connection to one endpoint.
    pub(crate) async fn connect(&self, authority: &str) -> Result<Connection, ClientError> {
        let channel = self.channel(authority).await?;
        let sign = self.sign_in(&channel).await?;
        Ok(InterceptedService::new(channel, sign))
    }

    /// What the user's requests are signed with.
    async fn sign_in(&self, channel: &Channel) -> Result<Sign, ClientError> {
        let Some(User { name, password }) = self.user.clone() else { return Ok(Sign(None)) };
        let password = password.ok_or_else(|| {
            let message = format!("--user {name} needs a password: --user {name}:… or --password");
            ClientError::Argument(message)
        })?;
        let request = AuthenticateRequest { name, password };
        let token =
            AuthClient::new(channel.clone()).authenticate(request).await?.into_inner().token;
        let token = token.parse().map_err(|_| Status::internal("the token is no text"))?;
        Ok(Sign(Some(token)))
    }

    /// A connection to the first endpoint that answers.
    ///
    /// # Errors
    /// None does.
    pub(crate) async fn connect_any(&self) -> Result<Connection, ClientError> {
        let mut cause = String::new();
        for authority in &self.authorities {
            match self.connect(authority).await {
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
    /// One does not, or does not take the user.
    pub(crate) async fn connect_each(&self, count: usize) -> Result<Vec<Connection>, ClientError> {
        let mut connections = Vec::with_capacity(count);
        // Every member knows the token that one of them gave.
        let mut sign = None;
        for authority in self.authorities.iter().cycle().take(count) {
            let channel = self.channel(authority).await?;
            if sign.is_none() {
                sign = Some(self.sign_in(&channel).await?);
            }
            let sign = sign.clone().unwrap_or(Sign(None));
            connections.push(InterceptedService::new(channel, sign));
        }
        Ok(connections)
    }

    /// The token of the user, from the first endpoint that answers; `None` without a user.
    pub(crate) async fn token(&self) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
        if self.user.is_none() {
            return Ok(None);
        }
        let mut cause = String::new();
        for authority in &self.authorities {
            match self.channel(authority).await {
                Ok(channel) => return Ok(self.sign_in(&channel).await?.0),
                Err(ClientError::Unreachable { cause: last, .. }) => cause = last,
                Err(other) => return Err(other),
            }
        }
        Err(ClientError::Unreachable { endpoints: self.to_string(), cause })
    }

    /// An endpoint as `host:port`, and what to speak TLS with, if it is spoken there.
    pub(crate) fn place<'a>(
        &self,
        authority: &'a str,
    ) -> Result<(&'a str, Option<Connector>), ClientError> {
        let place = authority.strip_prefix(SECURE);
        let is_secure = place.is_some() || self.tls.are_given();
        let connector = if is_secure { Some(Connector::new(&self.tls)?) } else { None };
        Ok((place.unwrap_or(authority), connector))
    }

    async fn channel(&self, authority: &str) -> Result<Channel, ClientError> {
        let unreachable = |error: tonic::transport::Error| {
            let cause = root_cause(&error);
            ClientError::Unreachable { endpoints: authority.to_owned(), cause }
        };
        let (place, connector) = self.place(authority)?;
        let endpoint = Endpoint::from_shared(format!("http://{place}"))
            .map_err(unreachable)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        match connector {
            None => endpoint.connect().await.map_err(unreachable),
            Some(connector) => {
                endpoint.connect_with_connector(connector).await.map_err(unreachable)
            }
        }
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authorities.join(","))
    }
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
    fn a_user_never_shows_its_password() {
        let user: User = "root:se:cret".parse().unwrap();
        assert_eq!((user.name.as_str(), user.password.as_deref()), ("root", Some("se:cret")));
        assert!(!format!("{user:?}").contains("cret"));
        let apart: User = "root".parse().unwrap();
        assert_eq!(apart.or_password(Some("other")).password.as_deref(), Some("other"));
        assert_eq!(user.or_password(Some("other")).password.as_deref(), Some("se:cret"));
    }

    #[test]
    fn endpoints_are_written_as_etcdctl_takes_them() {
        check("127.0.0.1:2379", Ok("127.0.0.1:2379"));
        check("http://a:1/, b:2", Ok("a:1,b:2"));
        check("[::1]:2379", Ok("[::1]:2379"));
        check("", Err(EndpointFault::Empty));
        check("a:1,,b:2", Err(EndpointFault::Empty));
        check("localhost", Err(EndpointFault::NoPort("localhost".to_owned())));
        check("https://a:1/,b:2", Ok("https://a:1,b:2"));
        check("unix://a:1", Err(EndpointFault::Scheme("unix://a:1".to_owned())));
    }
}
