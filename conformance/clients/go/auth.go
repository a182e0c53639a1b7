package main

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// usersAndRoles works with authentication on or off; what they may do is looked at where it is on.
func usersAndRoles(ctx context.Context, t target, client *clientv3.Client) {
	_, err := client.RoleAdd(ctx, "go-role")
	must(err)
	_, err = client.RoleAdd(ctx, "go-role")
	refused(err, rpctypes.ErrRoleAlreadyExist)
	_, err = client.RoleGrantPermission(ctx, "go-role", "go/auth/", clientv3.GetPrefixRangeEnd("go/auth/"), clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = client.UserAdd(ctx, "go-user", "first")
	must(err)
	_, err = client.UserAddWithOptions(ctx, "go-certificate", "", &clientv3.UserAddOptions{NoPassword: true})
	must(err)
	_, err = client.UserGrantRole(ctx, "go-user", "go-role")
	must(err)
	_, err = client.UserChangePassword(ctx, "go-user", "second")
	must(err)
	user, err := client.UserGet(ctx, "go-user")
	must(err)
	expect(len(user.Roles) == 1 && user.Roles[0] == "go-role", "a user has its roles", user)
	role, err := client.RoleGet(ctx, "go-role")
	must(err)
	expect(len(role.Perm) == 1 && string(role.Perm[0].Key) == "go/auth/", "a role has its permissions", role)
	users, err := client.UserList(ctx)
	must(err)
	roles, err := client.RoleList(ctx)
	must(err)
	expect(len(users.Users) >= 2 && len(roles.Roles) >= 1, "they are listed", users, roles)
	status, err := client.AuthStatus(ctx)
	must(err)
	expect(status.Enabled == t.secured(), "the status says whether it is on", status)
	if t.secured() {
		permissions(ctx, t, client)
	}
	_, err = client.UserRevokeRole(ctx, "go-user", "go-role")
	must(err)
	_, err = client.RoleRevokePermission(ctx, "go-role", "go/auth/", clientv3.GetPrefixRangeEnd("go/auth/"))
	must(err)
	for _, name := range []string{"go-user", "go-certificate"} {
		_, err = client.UserDelete(ctx, name)
		must(err)
	}
	_, err = client.RoleDelete(ctx, "go-role")
	must(err)
	_, err = client.RoleGet(ctx, "go-role")
	refused(err, rpctypes.ErrRoleNotFound)
}

func permissions(ctx context.Context, t target, root *clientv3.Client) {
	user := t.connectAs("go-user", "second")
	defer user.Close()
	put(ctx, user, "go/auth/a", "1")
	_, err := user.Put(ctx, "go/outside", "1")
	refused(err, rpctypes.ErrPermissionDenied)
	_, err = user.Get(ctx, "go/auth/", clientv3.WithFromKey())
	refused(err, rpctypes.ErrPermissionDenied)
	_, err = user.Txn(ctx).
		If(clientv3.Compare(clientv3.Version("go/outside"), "=", 0)).
		Then(clientv3.OpPut("go/auth/a", "2")).Commit()
	refused(err, rpctypes.ErrPermissionDenied)
	_, err = user.UserList(ctx)
	refused(err, rpctypes.ErrPermissionDenied)
	answer := <-user.Watch(ctx, "go/outside")
	expect(answer.Canceled && answer.Err() != nil, "a watch outside is refused", answer)
	watched := user.Watch(ctx, "go/auth/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	expect(next(ctx, watched).Created, "a watch inside is made")
	put(ctx, root, "go/auth/b", "1")
	expect(string(events(ctx, watched, 1)[0].Kv.Key) == "go/auth/b", "and sees what root writes")
	// Users and roles change: the client signs in again by itself.
	_, err = root.UserChangePassword(ctx, "go-user", "second")
	must(err)
	put(ctx, user, "go/auth/a", "3")
	_, err = clientv3.New(clientv3.Config{Endpoints: t.endpoints, TLS: t.tls, Username: "go-user", Password: "wrong", DialTimeout: within})
	refused(err, rpctypes.ErrAuthFailed)
	_, err = root.AuthEnable(ctx)
	must(err)
}
