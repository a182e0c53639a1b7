//! Auth: users, roles, and signing in. Changes go through the log; passwords do not: they are
//! hashed here, with a salt from the entropy of the machine, and only hashes are ever written down.

use std::sync::Arc;

use api::authpb;
use api::etcdserverpb::{self as pb, auth_server::Auth};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use store::{
    Access, AuthCommand, Command, PasswordHash, Permission, Principal, ROOT, RequestError,
    Response as Answered,
};
use tonic::{Request, Response, Status};

use crate::api_error::ApiError;
use crate::audit;
use crate::gate::{caller, new_secret};
use crate::member::Member;

/// A password is checked as of a revision of users and roles; while these change, it is checked
/// again, so often.
const SIGN_IN_ATTEMPTS: usize = 16;
/// What bcrypt looks at. Go refuses to hash longer ones, and so do we.
const PASSWORD_BYTES_MAX: usize = 72;
/// Each step doubles the time that a sign-in takes, and it takes its processor whole: a hash that a
/// client has made may cost this much, or what hashes cost here if that is more.
const GIVEN_COST_MAX: u32 = 16;

/// Checked where there is no user or no password, so that how long a refusal takes does not tell
/// who exists. It costs what the hashes cost that are made here.
fn nobodys_hash(cost: u32) -> String {
    format!("$2a${cost:02}$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")
}

/// A hash that a client has made, if signing in with it can work, and in bounded time.
fn given_hash(encoded: &str, own_cost: u32) -> Result<PasswordHash, ApiError> {
    let decoded = BASE64_STANDARD.decode(encoded).ok();
    let text = decoded
        .and_then(|hash| String::from_utf8(hash).ok())
        .ok_or(ApiError::Password("the hash of a password is not base64 of text"))?;
    let parts: bcrypt::HashParts = text
        .parse()
        .map_err(|_| ApiError::Password("the hash of a password is not one of bcrypt"))?;
    if parts.get_cost() > GIVEN_COST_MAX.max(own_cost) {
        return Err(ApiError::Password("the hash of a password costs too much: 16 at most"));
    }
    Ok(PasswordHash(text))
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct AuthService(pub(crate) Arc<Member>);

const WRONG_ANSWER: ApiError =
    ApiError::Internal("flotilla: a command was answered by another kind of response");

type Header = Option<pb::ResponseHeader>;

impl AuthService {
    async fn change(
        &self,
        who: Option<&Principal>,
        command: AuthCommand,
    ) -> Result<Header, ApiError> {
        let what = audited(&command);
        let result = match self.0.propose_as(who, &Command::Auth(command)).await {
            Ok(Answered::Auth { revision }) => Ok(self.0.header(revision)),
            Ok(_) => Err(WRONG_ANSWER),
            Err(error) => Err(error),
        };
        audit::note(who, &what, result)
    }

    async fn hash(&self, password: String, hashed: String) -> Result<PasswordHash, ApiError> {
        if password.is_empty() && !hashed.is_empty() {
            return given_hash(&hashed, self.0.limits.bcrypt_cost);
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(ApiError::Password("bcrypt: password length exceeds 72 bytes"));
        }
        let mut salt = [0; 16];
        let (low, high) = salt.split_at_mut(8);
        low.copy_from_slice(&self.0.entropy.next_u64().to_le_bytes());
        high.copy_from_slice(&self.0.entropy.next_u64().to_le_bytes());
        let cost = self.0.limits.bcrypt_cost;
        let hash = move || bcrypt::hash_with_salt(password.as_bytes(), cost, salt);
        let hash = self.aside(hash).await?;
        let hash = hash.map_err(|_| ApiError::Internal("flotilla: bcrypt failed"))?;
        Ok(PasswordHash(hash.format_for_version(bcrypt::Version::TwoA)))
    }

    /// Hashing takes long on purpose: not on a thread that serves connections, and few at a time,
    /// so that a flood of wrong passwords does not take all processors.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = self.0.hashing.acquire();
        let turn = tokio::time::timeout(self.0.limits.request_timeout, turn).await;
        let _turn = turn.map_err(|_| ApiError::TimedOut)?.map_err(|_| ApiError::Stopped)?;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| ApiError::Internal("flotilla: hashing a password panicked"))
    }

    async fn verify(&self, password: &str, hash: String) -> Result<bool, ApiError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let password = password.to_owned();
        // What is no hash fits no password.
        self.aside(move || bcrypt::verify(password, &hash).unwrap_or(false)).await
    }

    async fn sign_in(&self, user: &str, password: &str) -> Result<(String, Header), ApiError> {
        self.0.read_barrier().await?;
        for _ in 0..SIGN_IN_ATTEMPTS {
            let (hash, auth_revision) = match self.0.store.password_hash(user) {
                Ok(found) => found,
                Err(error) => {
                    if matches!(error, RequestError::AuthFailed | RequestError::NoPasswordUser) {
                        let hash = nobodys_hash(self.0.limits.bcrypt_cost);
                        self.verify(password, hash).await?;
                    }
                    return Err(error.into());
                }
            };
            if !self.verify(password, hash.0).await? {
                tracing::warn!(user, "a password was wrong");
                return Err(RequestError::AuthFailed.into());
            }
            if let Some(jwt) = &self.0.jwt {
                let token = jwt.sign(user, auth_revision, self.0.clock.wall_ms() / 1000);
                // A member with the public key alone reads tokens and makes none.
                let token = token.ok_or(ApiError::VerifyOnly)?;
                return Ok((token, self.0.header(self.0.store.revision())));
            }
            let (secret, token_digest) = new_secret(&self.0);
            let user = user.to_owned();
            let command = AuthCommand::Authenticate { user, token_digest, auth_revision };
            match self.0.propose_as(None, &Command::Auth(command)).await {
                Ok(Answered::Authenticate { revision, index }) => {
                    return Ok((format!("{secret}.{index}"), self.0.header(revision)));
                }
                Ok(_) => return Err(WRONG_ANSWER),
                Err(ApiError::Request(RequestError::AuthOldRevision)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(RequestError::AuthOldRevision.into())
    }

    /// As of everything that was acknowledged before.
    async fn header_of_read(&self) -> Result<Header, ApiError> {
        self.0.read_barrier().await?;
        Ok(self.0.header(self.0.store.revision()))
    }
}

/// What the log says that was done: without anything secret.
fn audited(command: &AuthCommand) -> String {
    match command {
        AuthCommand::Enable => "authentication enabled".to_owned(),
        AuthCommand::Disable => "authentication disabled".to_owned(),
        AuthCommand::UserAdd { name, .. } => format!("user {name:?} added"),
        AuthCommand::UserDelete { name } => format!("user {name:?} deleted"),
        AuthCommand::UserChangePassword { name, .. } => format!("password of {name:?} changed"),
        AuthCommand::UserGrantRole { user, role } => format!("role {role:?} granted to {user:?}"),
        AuthCommand::UserRevokeRole { user, role } => format!("role {role:?} taken from {user:?}"),
        AuthCommand::RoleAdd { name } => format!("role {name:?} added"),
        AuthCommand::RoleDelete { name } => format!("role {name:?} deleted"),
        AuthCommand::RoleGrantPermission { role, permission } => {
            format!("role {role:?} got {permission:?}")
        }
        AuthCommand::RoleRevokePermission { role, key, range_end } => {
            format!("role {role:?} lost {key:?} to {range_end:?}")
        }
        AuthCommand::Authenticate { user, .. } => format!("user {user:?} signed in"),
    }
}

pub(crate) fn permission(wire: authpb::Permission) -> Result<Permission, ApiError> {
    use authpb::permission::Type;
    let access = match Type::try_from(wire.perm_type) {
        Ok(Type::Read) => Access::Read,
        Ok(Type::Write) => Access::Write,
        Ok(Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(ApiError::UnknownEnumValue),
    };
    Ok(Permission { access, key: wire.key, range_end: wire.range_end })
}

pub(crate) fn wire_permission(permission: Permission) -> authpb::Permission {
    use authpb::permission::Type;
    let perm_type = match permission.access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    authpb::Permission {
        perm_type: perm_type.into(),
        key: permission.key,
        range_end: permission.range_end,
    }
}

/// Methods that turn their request into one command and answer with a header alone.
macro_rules! changes {
    ($($method:ident($request:ident) -> $response:ident = $command:expr),* $(,)?) => {
        #[tonic::async_trait]
        impl Auth for AuthService {
            $(async fn $method(
                &self,
                request: Request<pb::$request>,
            ) -> Result<Response<pb::$response>, Status> {
                let who = caller(&request);
                let command: fn(pb::$request) -> Result<AuthCommand, ApiError> = $command;
                let command = command(request.into_inner())?;
                let header = self.change(who.as_ref(), command).await?;
                Ok(Response::new(pb::$response { header }))
            })*

            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = self.header_of_read().await?;
                let status = self.0.store.auth_status();
                let (enabled, auth_revision) = (status.enabled, status.revision);
                Ok(Response::new(pb::AuthStatusResponse { header, enabled, auth_revision }))
            }

            async fn authenticate(
                &self,
                request: Request<pb::AuthenticateRequest>,
            ) -> Result<Response<pb::AuthenticateResponse>, Status> {
                let request = request.into_inner();
                let (token, header) = self.sign_in(&request.name, &request.password).await?;
                Ok(Response::new(pb::AuthenticateResponse { header, token }))
            }

            async fn user_add(
                &self,
                request: Request<pb::AuthUserAddRequest>,
            ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
                let who = caller(&request);
                let request = request.into_inner();
                let password_hash = if request.options.is_some_and(|options| options.no_password) {
                    None
                } else {
                    Some(self.hash(request.password, request.hashed_password).await?)
                };
                let command = AuthCommand::UserAdd { name: request.name, password_hash };
                let header = self.change(who.as_ref(), command).await?;
                Ok(Response::new(pb::AuthUserAddResponse { header }))
            }

            async fn user_change_password(
                &self,
                request: Request<pb::AuthUserChangePasswordRequest>,
            ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
                let who = caller(&request);
                let request = request.into_inner();
                let name = request.name;
                let password_hash = self.hash(request.password, request.hashed_password).await?;
                let command = AuthCommand::UserChangePassword { name, password_hash };
                let header = self.change(who.as_ref(), command).await?;
                Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
            }

            async fn user_get(
                &self,
                request: Request<pb::AuthUserGetRequest>,
            ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
                let who = caller(&request);
                let name = request.into_inner().name;
                let header = self.header_of_read().await?;
                let is_self =
                    matches!(&who, Some(Principal::User { name: own, .. }) if *own == name);
                if !is_self {
                    self.0.store.require_root(who.as_ref()).map_err(ApiError::from)?;
                }
                let roles = self.0.store.user_roles(&name);
                let roles = roles.ok_or(ApiError::from(RequestError::UserNotFound))?;
                Ok(Response::new(pb::AuthUserGetResponse { header, roles }))
            }

            async fn role_get(
                &self,
                request: Request<pb::AuthRoleGetRequest>,
            ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
                let who = caller(&request);
                let role = request.into_inner().role;
                let header = self.header_of_read().await?;
                let store = &self.0.store;
                let own_roles = match &who {
                    Some(Principal::User { name, .. }) => store.user_roles(name),
                    Some(Principal::Server) | None => None,
                };
                if !own_roles.is_some_and(|roles| roles.contains(&role)) {
                    store.require_root(who.as_ref()).map_err(ApiError::from)?;
                }
                let permissions = store.role_permissions(&role);
                let permissions = permissions.ok_or(ApiError::from(RequestError::RoleNotFound))?;
                let permissions = if role == ROOT { vec![everything()] } else { permissions };
                let perm = permissions.into_iter().map(wire_permission).collect();
                Ok(Response::new(pb::AuthRoleGetResponse { header, perm }))
            }

            async fn user_list(
                &self,
                _: Request<pb::AuthUserListRequest>,
            ) -> Result<Response<pb::AuthUserListResponse>, Status> {
                let header = self.header_of_read().await?;
                let users = self.0.store.users();
                Ok(Response::new(pb::AuthUserListResponse { header, users }))
            }

            async fn role_list(
                &self,
                _: Request<pb::AuthRoleListRequest>,
            ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
                let header = self.header_of_read().await?;
                let roles = self.0.store.roles();
                Ok(Response::new(pb::AuthRoleListResponse { header, roles }))
            }
        }
    };
}
changes!(
    auth_enable(AuthEnableRequest) -> AuthEnableResponse = |_| Ok(AuthCommand::Enable),
    auth_disable(AuthDisableRequest) -> AuthDisableResponse = |_| Ok(AuthCommand::Disable),
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse =
        |request| Ok(AuthCommand::UserDelete { name: request.name }),
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse =
        |request| Ok(AuthCommand::UserGrantRole { user: request.user, role: request.role }),
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse =
        |request| Ok(AuthCommand::UserRevokeRole { user: request.name, role: request.role }),
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse =
        |request| Ok(AuthCommand::RoleAdd { name: request.name }),
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse =
        |request| Ok(AuthCommand::RoleDelete { name: request.role }),
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse =
        |request| {
            let permission = permission(request.perm.ok_or(RequestError::PermissionNotGiven)?)?;
            Ok(AuthCommand::RoleGrantPermission { role: request.name, permission })
        },
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse =
        |request| {
            let (role, key, range_end) = (request.role, request.key, request.range_end);
            Ok(AuthCommand::RoleRevokePermission { role, key, range_end })
        },
);

/// What the role root permits, which no list of permissions could say.
fn everything() -> Permission {
    let range_end = bytes::Bytes::from_static(&[0]);
    Permission { access: Access::ReadWrite, key: bytes::Bytes::new(), range_end }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a refusal takes must not tell whether a user exists.
    #[test]
    fn nobodys_hash_costs_what_others_do() {
        for cost in [4, 10, 14] {
            let parts: bcrypt::HashParts = nobodys_hash(cost).parse().unwrap();
            assert_eq!(parts.get_cost(), cost);
        }
        assert!(!bcrypt::verify("", &nobodys_hash(4)).unwrap());
    }

    #[test]
    fn a_given_hash_is_one_of_bcrypt_and_costs_little() {
        let given = |text: &str| given_hash(&BASE64_STANDARD.encode(text), 10);
        assert_eq!(given(&nobodys_hash(16)).unwrap(), PasswordHash(nobodys_hash(16)));
        for refused in [nobodys_hash(17).as_str(), "", "secret", "$2a$10$short"] {
            assert!(matches!(given(refused), Err(ApiError::Password(_))), "{refused}");
        }
        assert!(given_hash("%", 10).is_err());
        let dear = BASE64_STANDARD.encode(nobodys_hash(18));
        assert!(given_hash(&dear, 18).is_ok(), "what is made here may be given");
    }
}
