package main

import (
	"context"
	"crypto/sha256"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func members(ctx context.Context, t target, client *clientv3.Client) {
	list, err := client.MemberList(ctx)
	must(err)
	expect(len(list.Members) == len(t.endpoints), "all members are listed", list)
	must(client.Sync(ctx))
	expect(len(client.Endpoints()) >= len(t.endpoints), "a client learns where they are", client.Endpoints())
	client.SetEndpoints(t.endpoints...)
	const peer = "http://127.0.0.1:1"
	added, err := client.MemberAddAsLearner(ctx, []string{peer})
	must(err)
	expect(added.Member.IsLearner && len(added.Members) == len(t.endpoints)+1, "a learner is added", added)
	_, err = client.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:2"})
	refused(err, rpctypes.ErrTooManyLearners)
	_, err = client.MemberAdd(ctx, []string{peer, "http://127.0.0.1:4"})
	refused(err, rpctypes.ErrPeerURLExist)
	_, err = client.MemberPromote(ctx, added.Member.ID)
	refused(err, rpctypes.ErrMemberLearnerNotReady)
	_, err = client.MemberPromote(ctx, list.Members[0].ID)
	refused(err, rpctypes.ErrMemberNotLearner)
	_, err = client.MemberUpdate(ctx, added.Member.ID, []string{"http://127.0.0.1:3"})
	must(err)
	removed, err := client.MemberRemove(ctx, added.Member.ID)
	must(err)
	expect(len(removed.Members) == len(t.endpoints), "and removed", removed)
	_, err = client.MemberRemove(ctx, added.Member.ID)
	refused(err, rpctypes.ErrMemberNotFound)
}

func leaderOf(ctx context.Context, client *clientv3.Client, endpoints []string) (string, uint64, []uint64) {
	for {
		var followers []uint64
		address, leader := "", uint64(0)
		for _, endpoint := range endpoints {
			status, err := client.Status(ctx, endpoint)
			must(err)
			expect(status.DbSize > 0 && status.Version != "" && status.RaftTerm > 0, "a status is whole", status)
			if status.Header.MemberId == status.Leader {
				address, leader = endpoint, status.Leader
			} else {
				followers = append(followers, status.Header.MemberId)
			}
		}
		if leader != 0 {
			return address, leader, followers
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func maintenance(ctx context.Context, t target, client *clientv3.Client) {
	address, leader, followers := leaderOf(ctx, client, t.endpoints)
	at := t.connect(address)
	defer at.Close()
	_, err := at.MoveLeader(ctx, followers[0])
	must(err)
	for moved := leader; moved != followers[0]; {
		_, moved, _ = leaderOf(ctx, client, t.endpoints)
	}
	_, err = at.MoveLeader(ctx, leader)
	refused(err, rpctypes.ErrNotLeader)

	newest := put(ctx, client, "go/hash", "1")
	hashes := map[uint32]bool{}
	for _, endpoint := range t.endpoints {
		for {
			hash, err := client.HashKV(ctx, endpoint, newest)
			if err == nil {
				hashes[hash.Hash] = true
				break
			}
			// It has not applied that revision yet.
			refused(err, rpctypes.ErrFutureRev)
			time.Sleep(20 * time.Millisecond)
		}
		_, err := client.Defragment(ctx, endpoint)
		must(err)
	}
	expect(len(hashes) == 1, "all members have the same hash", hashes)
	alarms, err := client.AlarmList(ctx)
	must(err)
	expect(len(alarms.Alarms) == 0, "no alarm is raised", alarms)
	_, err = client.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	must(err)

	snapshot, err := client.SnapshotWithVersion(ctx)
	must(err)
	bytes, err := io.ReadAll(snapshot.Snapshot)
	must(err)
	must(snapshot.Snapshot.Close())
	expect(len(bytes)%512 == sha256.Size, "a snapshot has its hash behind it", len(bytes))
	sum := sha256.Sum256(bytes[:len(bytes)-sha256.Size])
	expect(string(sum[:]) == string(bytes[len(bytes)-sha256.Size:]), "the hash is that of the file")
}
