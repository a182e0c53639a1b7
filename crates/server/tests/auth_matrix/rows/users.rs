//! Users, roles and health.

use super::*;

pub(super) fn users() -> Vec<Row> {
    vec![
        unary!(
            "/etcdserverpb.Auth/AuthStatus",
            "",
            Nobody,
            AuthClient.auth_status(pb::AuthStatusRequest {})
        ),
        unary!(
            "/etcdserverpb.Auth/Authenticate",
            "",
            Nobody,
            AuthClient.authenticate(pb::AuthenticateRequest {
                name: "writer".to_owned(),
                password: "wrong".to_owned()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserAdd",
            "",
            Root,
            AuthClient.user_add(pb::AuthUserAddRequest {
                name: "writer".to_owned(),
                ..Default::default()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserGet",
            "of another",
            Root,
            AuthClient.user_get(pb::AuthUserGetRequest { name: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/UserGet",
            "of oneself",
            Keys,
            AuthClient.user_get(pb::AuthUserGetRequest { name: "writer".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/UserList",
            "",
            Root,
            AuthClient.user_list(pb::AuthUserListRequest {})
        ),
        unary!(
            "/etcdserverpb.Auth/UserDelete",
            "",
            Root,
            AuthClient.user_delete(pb::AuthUserDeleteRequest { name: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/UserChangePassword",
            "",
            Root,
            AuthClient.user_change_password(pb::AuthUserChangePasswordRequest {
                name: "nobody".to_owned(),
                ..Default::default()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserGrantRole",
            "",
            Root,
            AuthClient.user_grant_role(pb::AuthUserGrantRoleRequest {
                user: "nobody".to_owned(),
                role: "root".to_owned()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserRevokeRole",
            "",
            Root,
            AuthClient.user_revoke_role(pb::AuthUserRevokeRoleRequest {
                name: "nobody".to_owned(),
                role: "root".to_owned()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleAdd",
            "",
            Root,
            AuthClient.role_add(pb::AuthRoleAddRequest { name: "writer".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleGet",
            "of another",
            Root,
            AuthClient.role_get(pb::AuthRoleGetRequest { role: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleGet",
            "of oneself",
            Keys,
            AuthClient.role_get(pb::AuthRoleGetRequest { role: "writer".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleList",
            "",
            Root,
            AuthClient.role_list(pb::AuthRoleListRequest {})
        ),
        unary!(
            "/etcdserverpb.Auth/RoleDelete",
            "",
            Root,
            AuthClient.role_delete(pb::AuthRoleDeleteRequest { role: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleGrantPermission",
            "",
            Root,
            AuthClient.role_grant_permission(pb::AuthRoleGrantPermissionRequest {
                name: "writer".to_owned(),
                perm: None
            })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleRevokePermission",
            "",
            Root,
            AuthClient.role_revoke_permission(pb::AuthRoleRevokePermissionRequest {
                role: "nobody".to_owned(),
                ..Default::default()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/AuthEnable",
            "",
            Root,
            AuthClient.auth_enable(pb::AuthEnableRequest {})
        ),
        // The last: by root it is done.
        unary!(
            "/etcdserverpb.Auth/AuthDisable",
            "",
            Root,
            AuthClient.auth_disable(pb::AuthDisableRequest {})
        ),
    ]
}
