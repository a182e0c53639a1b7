//! Users for tests, and tokens on their requests.

use api::authpb;
use api::etcdserverpb as pb;
use api::etcdserverpb::auth_client::AuthClient;
use tonic::Request;
use tonic::transport::Channel;

use crate::common::bytes;

/// Root, and alice, who may do everything with `a…`; authentication is on afterwards. Without a
/// password they are who their certificates say.
pub(crate) async fn turn_on(auth: &mut AuthClient<Channel>, password: Option<&str>) {
    for name in ["root", "alice"] {
        let no_password = password.is_none();
        let options = Some(authpb::UserAddOptions { no_password });
        let (name, password) = (name.to_owned(), password.unwrap_or_default().to_owned());
        let user = pb::AuthUserAddRequest { name, password, options, ..Default::default() };
        auth.user_add(user).await.unwrap();
    }
    auth.role_add(pb::AuthRoleAddRequest { name: "a".to_owned() }).await.unwrap();
    let perm = authpb::Permission { perm_type: 2, key: bytes("a"), range_end: bytes("b") };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "a".to_owned(), perm: Some(perm) };
    auth.role_grant_permission(grant).await.unwrap();
    for (user, role) in [("root", "root"), ("alice", "a")] {
        let (user, role) = (user.to_owned(), role.to_owned());
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

/// A request with a token.
pub(crate) fn signed<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("token", token.parse().unwrap());
    request
}
