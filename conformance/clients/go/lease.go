package main

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func leases(ctx context.Context, _ target, client *clientv3.Client) {
	lease, err := client.Grant(ctx, 2)
	must(err)
	expect(lease.TTL == 2, "the time to live is as asked", lease)
	put(ctx, client, "go/lease/a", "1", clientv3.WithLease(lease.ID))
	told, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	must(err)
	expect(told.GrantedTTL == 2 && told.TTL <= 2 && len(told.Keys) == 1, "a lease knows its keys", told)
	// Each member lists what it knows, and the one that is asked may not have heard of it yet.
	for found := false; !found; {
		all, err := client.Leases(ctx)
		must(err)
		for _, one := range all.Leases {
			found = found || one.ID == lease.ID
		}
	}
	once, err := client.KeepAliveOnce(ctx, lease.ID)
	must(err)
	expect(once.TTL == 2, "a renewal tells the whole time", once)

	// It is kept for longer than it would live, and then it is let go.
	keeping, stop := context.WithCancel(ctx)
	answers, err := client.KeepAlive(keeping, lease.ID)
	must(err)
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
		expect(<-answers != nil, "the lease is kept")
	}
	expect(len(get(ctx, client, "go/lease/a").Kvs) == 1, "a lease that is kept has its keys")
	at := get(ctx, client, "go/lease/a").Header.Revision
	stop()
	end := events(ctx, client.Watch(ctx, "go/lease/a", clientv3.WithRev(at+1)), 1)
	expect(end[0].Type == clientv3.EventTypeDelete, "a lease takes its keys along", end)

	// A key moves from a lease to another, and off.
	one, err := client.Grant(ctx, 600)
	must(err)
	other, err := client.Grant(ctx, 600)
	must(err)
	put(ctx, client, "go/lease/b", "1", clientv3.WithLease(one.ID))
	put(ctx, client, "go/lease/c", "1", clientv3.WithLease(one.ID))
	put(ctx, client, "go/lease/b", "2", clientv3.WithLease(other.ID))
	put(ctx, client, "go/lease/b", "3", clientv3.WithIgnoreLease())
	_, err = client.Revoke(ctx, one.ID)
	must(err)
	left := get(ctx, client, "go/lease/", clientv3.WithPrefix())
	expect(keysOf(left) == "go/lease/b " && left.Kvs[0].Lease == int64(other.ID), "only what was left to it goes", left)
	_, err = client.Revoke(ctx, one.ID)
	refused(err, rpctypes.ErrLeaseNotFound)
	_, err = client.KeepAliveOnce(ctx, one.ID)
	refused(err, rpctypes.ErrLeaseNotFound)
	_, err = client.Put(ctx, "go/lease/d", "1", clientv3.WithLease(one.ID))
	refused(err, rpctypes.ErrLeaseNotFound)
	missing, err := client.TimeToLive(ctx, one.ID)
	must(err)
	expect(missing.TTL == -1, "a lease that is gone has no time", missing)
	_, err = client.Grant(ctx, 9_000_000_001)
	refused(err, rpctypes.ErrLeaseTTLTooLarge)
	_, err = client.Revoke(ctx, other.ID)
	must(err)
}
