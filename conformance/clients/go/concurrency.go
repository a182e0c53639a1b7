package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/ordering"
)

func session(client *clientv3.Client, options ...concurrency.SessionOption) *concurrency.Session {
	session, err := concurrency.NewSession(client, options...)
	must(err)
	return session
}

func locks(ctx context.Context, _ target, client *clientv3.Client) {
	one, two := session(client, concurrency.WithTTL(5)), session(client, concurrency.WithTTL(5))
	defer one.Close()
	defer two.Close()
	mine, theirs := concurrency.NewMutex(one, "go/lock"), concurrency.NewMutex(two, "go/lock")
	must(mine.Lock(ctx))
	refused(theirs.TryLock(ctx), concurrency.ErrLocked)
	guarded, err := client.Txn(ctx).If(mine.IsOwner()).Then(clientv3.OpPut("go/guarded", "1")).Commit()
	must(err)
	expect(guarded.Succeeded, "a write under the lock is fenced by its key", guarded)
	got := make(chan error, 1)
	go func() { got <- theirs.Lock(ctx) }()
	must(mine.Unlock(ctx))
	must(<-got)
	late, err := client.Txn(ctx).If(mine.IsOwner()).Then(clientv3.OpPut("go/guarded", "2")).Commit()
	must(err)
	expect(!late.Succeeded, "who lost the lock writes no more", late)
	// Who holds a lock and dies lets it go with its lease.
	two.Orphan()
	_, err = client.Revoke(ctx, two.Lease())
	must(err)
	must(mine.Lock(ctx))
	must(mine.Unlock(ctx))
	countUnderALock(ctx, client)
}

func countUnderALock(ctx context.Context, client *clientv3.Client) {
	put(ctx, client, "go/count", "0")
	var all sync.WaitGroup
	for range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			session := session(client)
			defer session.Close()
			locker := concurrency.NewLocker(session, "go/locker")
			for range 5 {
				locker.Lock()
				var count int
				_, err := fmt.Sscan(string(get(ctx, client, "go/count").Kvs[0].Value), &count)
				must(err)
				put(ctx, client, "go/count", fmt.Sprint(count+1))
				locker.Unlock()
			}
		}()
	}
	all.Wait()
	expect(string(get(ctx, client, "go/count").Kvs[0].Value) == "20", "no count was lost under the lock")
}

func elections(ctx context.Context, _ target, client *clientv3.Client) {
	one, two := session(client, concurrency.WithTTL(5)), session(client, concurrency.WithTTL(5))
	defer one.Close()
	defer two.Close()
	first, second := concurrency.NewElection(one, "go/elect"), concurrency.NewElection(two, "go/elect")
	_, err := first.Leader(ctx)
	refused(err, concurrency.ErrElectionNoLeader)
	must(first.Campaign(ctx, "one"))
	observing, stop := context.WithCancel(ctx)
	defer stop()
	seen := second.Observe(observing)
	leader := func() string {
		answer := <-seen
		return string(answer.Kvs[0].Value)
	}
	expect(leader() == "one", "the leader is seen")
	must(first.Proclaim(ctx, "one again"))
	expect(leader() == "one again", "what it proclaims is seen")
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "two") }()
	resumed := concurrency.ResumeElection(one, "go/elect", first.Key(), first.Rev())
	must(resumed.Resign(ctx))
	must(<-won)
	expect(leader() == "two", "the next one leads")
	now, err := first.Leader(ctx)
	must(err)
	expect(string(now.Kvs[0].Key) == second.Key(), "everybody is told who leads", now)
	refused(first.Proclaim(ctx, "late"), concurrency.ErrElectionNotLeader)
	must(second.Resign(ctx))
}

func softwareTransactions(ctx context.Context, t target, _ *clientv3.Client) {
	// Its later reads are serializable and name the revision of the first: a member that is a
	// moment behind says that this is the future, here as with etcd. So one member is asked.
	client := t.connect(t.endpoints[0])
	defer client.Close()
	const accounts, money = 4, 100
	for at := range accounts {
		put(ctx, client, fmt.Sprintf("go/stm/%d", at), fmt.Sprint(money))
	}
	amount := func(stm concurrency.STM, key string) (value int) {
		_, err := fmt.Sscan(stm.Get(key), &value)
		must(err)
		return value
	}
	move := func(from, to string) func(concurrency.STM) error {
		return func(stm concurrency.STM) error {
			before, after := amount(stm, from), amount(stm, to)
			if before > 0 {
				stm.Put(from, fmt.Sprint(before-1))
				stm.Put(to, fmt.Sprint(after+1))
			}
			return nil
		}
	}
	var all sync.WaitGroup
	for at := range accounts {
		all.Add(1)
		go func() {
			defer all.Done()
			level := []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.SerializableSnapshot, concurrency.RepeatableReads}[at]
			from, to := fmt.Sprintf("go/stm/%d", at), fmt.Sprintf("go/stm/%d", (at+1)%accounts)
			for range 10 {
				_, err := concurrency.NewSTM(client, move(from, to), concurrency.WithIsolation(level), concurrency.WithAbortContext(ctx))
				must(err)
			}
		}()
	}
	all.Wait()
	sum := 0
	_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
		sum = 0
		for at := range accounts {
			sum += amount(stm, fmt.Sprintf("go/stm/%d", at))
		}
		stm.Del("go/stm/none")
		return nil
	}, concurrency.WithPrefetch("go/stm/0", "go/stm/1"))
	must(err)
	expect(sum == accounts*money, "money is neither made nor lost", sum)
}

// cachesAndMirrors uses the packages that are built on watches and transactions.
func cachesAndMirrors(ctx context.Context, t target, client *clientv3.Client) {
	put(ctx, client, "go/cached", "1")
	cached, drop, err := leasing.NewKV(client, "go/leasing/")
	must(err)
	expect(string(get(ctx, cached, "go/cached").Kvs[0].Value) == "1", "through the cache")
	put(ctx, cached, "go/cached", "2")
	expect(string(get(ctx, cached, "go/cached").Kvs[0].Value) == "2", "the cache follows its own writes")
	other := t.connect()
	defer other.Close()
	owned, dropOwned, err := leasing.NewKV(other, "go/leasing/")
	must(err)
	put(ctx, owned, "go/cached", "3")
	expect(string(get(ctx, cached, "go/cached").Kvs[0].Value) == "3", "the cache is told of others' writes")
	drop()
	dropOwned()

	ordered := ordering.NewKV(client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { return nil })
	expect(string(get(ctx, ordered, "go/cached").Kvs[0].Value) == "3", "reads in order")

	newest := put(ctx, client, "go/mirror/a", "1")
	syncer := mirror.NewSyncer(client, "go/mirror/", newest)
	bases, errs := syncer.SyncBase(ctx)
	for base := range bases {
		expect(bytes.HasPrefix(base.Kvs[0].Key, []byte("go/mirror/")), "the base has what was there", base)
	}
	must(<-errs)
	following, stop := context.WithCancel(ctx)
	defer stop()
	updates := syncer.SyncUpdates(following)
	put(ctx, client, "go/mirror/b", "2")
	expect(string(events(ctx, updates, 1)[0].Kv.Key) == "go/mirror/b", "the mirror follows")
}
