package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// next takes the next answer of a watch that goes on.
func next(ctx context.Context, answers clientv3.WatchChan) clientv3.WatchResponse {
	select {
	case answer, open := <-answers:
		expect(open, "the watch goes on")
		must(answer.Err())
		return answer
	case <-ctx.Done():
		panic("no answer of a watch came in time")
	}
}

// events takes so many of them, in the order in which they come.
func events(ctx context.Context, answers clientv3.WatchChan, count int) []*clientv3.Event {
	var all []*clientv3.Event
	for len(all) < count {
		all = append(all, next(ctx, answers).Events...)
	}
	expect(len(all) == count, "no more events than there were changes", len(all), count)
	return all
}

func watches(ctx context.Context, t target, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	created := client.Watch(ctx, "go/watch/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	expect(next(ctx, created).Created, "the watch says that it is made")
	first := put(ctx, client, "go/watch/a", "1")
	put(ctx, client, "go/watch/a", "2")
	put(ctx, client, "go/other", "3")
	_, err := client.Delete(ctx, "go/watch/a")
	must(err)
	now := events(ctx, created, 3)
	expect(now[0].IsCreate() && now[1].IsModify() && now[2].Type == clientv3.EventTypeDelete, "in order", now)

	past := client.Watch(ctx, "go/watch/", clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithPrevKV())
	again := events(ctx, past, 3)
	expect(again[0].Kv.ModRevision == first && string(again[2].PrevKv.Value) == "2", "history with values before", again)
	deletes := events(ctx, client.Watch(ctx, "go/watch/a", clientv3.WithRev(first), clientv3.WithFilterPut()), 1)
	expect(deletes[0].Type == clientv3.EventTypeDelete, "puts are left out", deletes)
	puts := events(ctx, client.Watch(ctx, "go/watch/a", clientv3.WithRev(first), clientv3.WithFilterDelete()), 2)
	expect(puts[1].Type == clientv3.EventTypePut, "deletes are left out", puts)

	// One transaction is one answer.
	_, err = client.Txn(ctx).Then(clientv3.OpPut("go/watch/x", "1"), clientv3.OpPut("go/watch/y", "1")).Commit()
	must(err)
	expect(len(next(ctx, created).Events) == 2, "the events of a revision come together")

	// Each of many watches of one client, on one stream, has its own events only.
	var many []clientv3.WatchChan
	for at := range 50 {
		many = append(many, client.Watch(ctx, fmt.Sprintf("go/watch/many/%d", at), clientv3.WithRev(first)))
	}
	for at := range many {
		put(ctx, client, fmt.Sprintf("go/watch/many/%d", at), fmt.Sprint(at))
	}
	for at, one := range many {
		expect(string(events(ctx, one, 1)[0].Kv.Value) == fmt.Sprint(at), "its own event", at)
	}
	compactedWatch(ctx, t, first)
	ended, end := context.WithCancel(ctx)
	closing := client.Watch(ended, "go/watch/ended")
	end()
	for range closing {
		// It closes; what it says before does not matter.
	}
}

// A watch from before a compaction is told where history begins. Another member may not have
// applied the compaction yet, so one member is asked for both.
func compactedWatch(ctx context.Context, t target, first int64) {
	client := t.connect(t.endpoints[0])
	defer client.Close()
	newest := put(ctx, client, "go/watch/end", "1")
	_, err := client.Compact(ctx, newest)
	must(err)
	answer := <-client.Watch(ctx, "go/watch/a", clientv3.WithRev(first))
	expect(answer.Canceled && answer.CompactRevision == newest, "the compact revision is told", answer)
	refused(answer.Err(), rpctypes.ErrCompacted)
}

func watchProgress(ctx context.Context, _ target, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := client.Watch(ctx, "go/progress/", clientv3.WithPrefix(), clientv3.WithCreatedNotify(), clientv3.WithProgressNotify())
	next(ctx, answers)
	newest := put(ctx, client, "go/progress/a", "1")
	events(ctx, answers, 1)
	newest = max(newest, put(ctx, client, "go/elsewhere", "1"))
	// A member that is a moment behind answers for what it has; a stream that is not up to date
	// answers nothing at all. So a client asks again.
	for {
		must(client.RequestProgress(ctx))
		select {
		case answer := <-answers:
			must(answer.Err())
			expect(answer.IsProgressNotify() && len(answer.Events) == 0, "it is about progress", answer)
			if answer.Header.Revision >= newest {
				return
			}
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			panic("progress was never told")
		}
	}
}

func watchFragments(ctx context.Context, t target, _ *clientv3.Client) {
	// A client of its own that takes no more than the default of four mebibytes at once.
	client := t.connect()
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	value := strings.Repeat("v", 1<<20)
	first := put(ctx, client, "go/fragment/0", value)
	for at := 1; at < 6; at++ {
		put(ctx, client, fmt.Sprintf("go/fragment/%d", at), value)
	}
	answers := client.Watch(ctx, "go/fragment/", clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithFragment())
	for at, event := range events(ctx, answers, 6) {
		expect(string(event.Kv.Key) == fmt.Sprintf("go/fragment/%d", at) && len(event.Kv.Value) == 1<<20, "whole and in order", at)
	}
	_, err := client.Delete(ctx, "go/fragment/", clientv3.WithPrefix())
	must(err)
}
