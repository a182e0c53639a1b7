//! Random requests about users, roles, members, alarms and the state of a member.

use api::authpb;
use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::{self as pb};
use tonic::Request;

use crate::asks::Chooser;
use crate::settle::{settle_header, shown};
use crate::side::Side;

/// What an administrator sends.
#[derive(Clone, Debug)]
pub(crate) enum Administration {
    Users(AboutUsers),
    Members(AboutMembers),
}

/// About users and roles.
#[derive(Clone, Debug)]
pub(crate) enum AboutUsers {
    RoleAdd(pb::AuthRoleAddRequest),
    RoleDelete(pb::AuthRoleDeleteRequest),
    RoleGet(pb::AuthRoleGetRequest),
    RoleList,
    RoleGrant(pb::AuthRoleGrantPermissionRequest),
    RoleRevoke(pb::AuthRoleRevokePermissionRequest),
    UserAdd(pb::AuthUserAddRequest),
    UserDelete(pb::AuthUserDeleteRequest),
    UserGet(pb::AuthUserGetRequest),
    UserList,
    UserGrant(pb::AuthUserGrantRoleRequest),
    UserRevoke(pb::AuthUserRevokeRoleRequest),
    UserPassword(pb::AuthUserChangePasswordRequest),
    Enable,
    Authenticate(pb::AuthenticateRequest),
}

/// About members, and what they keep watch over.
#[derive(Clone, Debug)]
pub(crate) enum AboutMembers {
    MemberList,
    MemberAdd(pb::MemberAddRequest),
    MemberRemove(pb::MemberRemoveRequest),
    MemberUpdate(pb::MemberUpdateRequest),
    MemberPromote(pb::MemberPromoteRequest),
    MoveLeader(pb::MoveLeaderRequest),
    Alarm(pb::AlarmRequest),
    HashKv(pb::HashKvRequest),
    Defragment,
}

/// Nobody has this id.
const STRANGER: u64 = 7;

impl Chooser {
    fn user(&mut self) -> String {
        self.pick(&["alice", "alice", "bob", "carol", ""]).to_owned()
    }

    fn role(&mut self) -> String {
        self.pick(&["reader", "reader", "writer", "none", ""]).to_owned()
    }

    fn bounds(&mut self) -> (bytes::Bytes, bytes::Bytes) {
        let ranges = [("a", ""), ("a", "c"), ("b", "\0"), ("b", "d"), ("d", "z")];
        let (key, range_end) = self.pick(&ranges);
        (key.as_bytes().into(), range_end.as_bytes().into())
    }

    pub(crate) fn administration(&mut self) -> Administration {
        if self.often(3) {
            Administration::Members(self.about_members())
        } else {
            Administration::Users(self.about_users())
        }
    }

    pub(crate) fn about_users(&mut self) -> AboutUsers {
        use AboutUsers as A;
        let (name, role) = (self.user(), self.role());
        let (key, range_end) = self.bounds();
        let password = self.pick(&["one", "two", ""]).to_owned();
        match self.below(18) {
            16 => A::Enable,
            17 => A::Authenticate(pb::AuthenticateRequest { name, password }),
            0 | 1 => A::RoleAdd(pb::AuthRoleAddRequest { name: role }),
            2 => A::RoleDelete(pb::AuthRoleDeleteRequest { role }),
            3 => A::RoleGet(pb::AuthRoleGetRequest { role }),
            4 => A::RoleList,
            5 | 6 => {
                let perm_type = i32::try_from(self.below(3)).unwrap();
                // One range for each key: see "a permission that is granted again" in
                // docs/differences.md.
                let range_end = match &key[..] {
                    b"a" => bytes::Bytes::from_static(b"c"),
                    b"b" => bytes::Bytes::from_static(b"\0"),
                    _ => range_end,
                };
                let perm = Some(authpb::Permission { perm_type, key, range_end });
                A::RoleGrant(pb::AuthRoleGrantPermissionRequest { name: role, perm })
            }
            7 => A::RoleRevoke(pb::AuthRoleRevokePermissionRequest { role, key, range_end }),
            8 | 9 => {
                let request = pb::AuthUserAddRequest { name, password, ..Default::default() };
                A::UserAdd(request)
            }
            10 => A::UserDelete(pb::AuthUserDeleteRequest { name }),
            11 => A::UserGet(pb::AuthUserGetRequest { name }),
            12 => A::UserList,
            13 => A::UserGrant(pb::AuthUserGrantRoleRequest { user: name, role }),
            14 => A::UserRevoke(pb::AuthUserRevokeRoleRequest { name, role }),
            _ => {
                let request =
                    pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
                A::UserPassword(request)
            }
        }
    }

    fn about_members(&mut self) -> AboutMembers {
        use AboutMembers as A;
        let peer_urls =
            vec![self.pick(&["x", "ftp://a:1", "http://a", "http://a:1/path"]).to_owned()];
        match self.below(12) {
            0 => A::MemberList,
            1 => A::MemberAdd(pb::MemberAddRequest { peer_ur_ls: peer_urls, is_learner: false }),
            2 => A::MemberRemove(pb::MemberRemoveRequest { id: STRANGER }),
            3 => {
                let peer_ur_ls = vec!["http://a:1".to_owned()];
                A::MemberUpdate(pb::MemberUpdateRequest { id: STRANGER, peer_ur_ls })
            }
            4 => A::MemberPromote(pb::MemberPromoteRequest { id: STRANGER }),
            5 => A::MoveLeader(pb::MoveLeaderRequest { target_id: STRANGER }),
            6..9 => A::HashKv(pb::HashKvRequest { revision: self.pick(&[0, 0, 1 << 40]) }),
            9 => A::Defragment,
            // Asked about, raised, and put away twice as often.
            _ => {
                let action = self.pick(&[0, 0, 1, 2, 2]);
                A::Alarm(pb::AlarmRequest { action, member_id: 0, alarm: 1 })
            }
        }
    }
}

impl Side {
    /// Sends it as a user, and shows the answer.
    pub(crate) async fn administer(&self, ask: Administration, user: &str) -> String {
        match ask {
            Administration::Users(ask) => self.ask_about_users(ask, user).await,
            Administration::Members(ask) => self.ask_about_members(ask, user).await,
        }
    }

    async fn ask_about_users(&self, ask: AboutUsers, user: &str) -> String {
        use AboutUsers as A;
        let mut auth = AuthClient::new(self.channel.clone());
        macro_rules! headed {
            ($client:ident.$method:ident($request:expr)) => {
                shown($client.$method(self.from(user, $request)).await, |answer| {
                    settle_header(&mut answer.header);
                })
            };
        }
        match ask {
            A::RoleAdd(request) => headed!(auth.role_add(request)),
            A::RoleDelete(request) => headed!(auth.role_delete(request)),
            A::RoleGet(request) => {
                shown(auth.role_get(self.from(user, request)).await, |answer| {
                    settle_header(&mut answer.header);
                    // Those of the same key are in any order.
                    answer
                        .perm
                        .sort_by(|a, b| a.key.cmp(&b.key).then(a.range_end.cmp(&b.range_end)));
                })
            }
            A::RoleList => headed!(auth.role_list(pb::AuthRoleListRequest {})),
            A::RoleGrant(request) => headed!(auth.role_grant_permission(request)),
            A::RoleRevoke(request) => headed!(auth.role_revoke_permission(request)),
            A::UserAdd(request) => headed!(auth.user_add(request)),
            A::UserDelete(request) => headed!(auth.user_delete(request)),
            A::UserGet(request) => headed!(auth.user_get(request)),
            A::UserList => headed!(auth.user_list(pb::AuthUserListRequest {})),
            A::UserGrant(request) => headed!(auth.user_grant_role(request)),
            A::UserRevoke(request) => headed!(auth.user_revoke_role(request)),
            A::UserPassword(request) => headed!(auth.user_change_password(request)),
            A::Enable => headed!(auth.auth_enable(pb::AuthEnableRequest {})),
            A::Authenticate(request) => {
                // Without a token: etcd 3.4 looks at it, although it is to be replaced.
                shown(auth.authenticate(request).await, |answer| {
                    settle_header(&mut answer.header);
                    answer.token.clear();
                })
            }
        }
    }

    async fn ask_about_members(&self, ask: AboutMembers, user: &str) -> String {
        use AboutMembers as A;
        let mut cluster = ClusterClient::new(self.channel.clone());
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        macro_rules! whole {
            ($client:ident.$method:ident($request:expr)) => {
                shown($client.$method(self.from(user, $request)).await, |_| {})
            };
        }
        match ask {
            A::MemberList => {
                let request = self.from(user, pb::MemberListRequest::default());
                shown(cluster.member_list(request).await, |answer| {
                    answer.header = None;
                    for member in &mut answer.members {
                        member.id = 0;
                        member.peer_ur_ls.iter_mut().for_each(String::clear);
                        member.client_ur_ls.iter_mut().for_each(String::clear);
                    }
                })
            }
            A::MemberAdd(request) => whole!(cluster.member_add(request)),
            A::MemberRemove(request) => whole!(cluster.member_remove(request)),
            A::MemberUpdate(request) => whole!(cluster.member_update(request)),
            A::MemberPromote(request) => whole!(cluster.member_promote(request)),
            A::MoveLeader(request) => whole!(maintenance.move_leader(request)),
            A::Alarm(request) => {
                // See "header of `Alarm`" in docs/differences.md.
                shown(maintenance.alarm(self.from(user, request)).await, |answer| {
                    answer.header = None;
                })
            }
            A::HashKv(request) => {
                shown(maintenance.hash_kv(self.from(user, request)).await, |answer| {
                    settle_header(&mut answer.header);
                    (answer.hash, answer.hash_revision) = (0, 0);
                })
            }
            A::Defragment => whole!(maintenance.defragment(pb::DefragmentRequest {})),
        }
    }

    /// A request with a user's token; without one for nobody.
    pub(crate) fn from<T>(&self, user: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.token(user) {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        request
    }
}
