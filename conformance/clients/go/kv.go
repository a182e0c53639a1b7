package main

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
)

func keysOf(response *clientv3.GetResponse) string {
	keys := ""
	for _, kv := range response.Kvs {
		keys += string(kv.Key) + " "
	}
	return keys
}

func get(ctx context.Context, kv clientv3.KV, key string, options ...clientv3.OpOption) *clientv3.GetResponse {
	response, err := kv.Get(ctx, key, options...)
	must(err)
	return response
}

func put(ctx context.Context, kv clientv3.KV, key, value string, options ...clientv3.OpOption) int64 {
	response, err := kv.Put(ctx, key, value, options...)
	must(err)
	return response.Header.Revision
}

func keysAndRanges(ctx context.Context, _ target, client *clientv3.Client) {
	first := put(ctx, client, "go/kv/a", "1")
	put(ctx, client, "go/kv/b", "2")
	third := put(ctx, client, "go/kv/c", "\x00\xff")
	expect(third == first+2, "each put is a revision", first, third)
	ranges := []struct {
		key     string
		options []clientv3.OpOption
		keys    string
	}{
		{"go/kv/", []clientv3.OpOption{clientv3.WithPrefix()}, "go/kv/a go/kv/b go/kv/c "},
		{"go/kv/a", []clientv3.OpOption{clientv3.WithRange("go/kv/c")}, "go/kv/a go/kv/b "},
		{"go/kv/b", []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithLimit(2)}, "go/kv/b go/kv/c "},
		{"go/kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend)}, "go/kv/b go/kv/a go/kv/c "},
		{"go/kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(first)}, "go/kv/a "},
		{"go/kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMinModRev(third)}, "go/kv/c "},
		{"go/kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(first)}, "go/kv/a "},
		{"go/kv/", clientv3.WithFirstCreate(), "go/kv/a "},
		{"go/kv/", clientv3.WithLastRev(), "go/kv/c "},
	}
	for _, one := range ranges {
		found := keysOf(get(ctx, client, one.key, one.options...))
		expect(found == one.keys, "the range has its keys", one.key, found, one.keys)
	}
	page := get(ctx, client, "go/kv/", clientv3.WithPrefix(), clientv3.WithLimit(1))
	expect(page.More && page.Count == 3 && len(page.Kvs) == 1, "a page says that there is more", page)
	count := get(ctx, client, "go/kv/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	expect(count.Count == 3 && len(count.Kvs) == 0, "a count has no keys", count)
	bare := get(ctx, client, "go/kv/a", clientv3.WithKeysOnly(), clientv3.WithSerializable())
	expect(len(bare.Kvs[0].Value) == 0 && bare.Kvs[0].Version == 1, "keys only have no values", bare)

	changed, err := client.Put(ctx, "go/kv/a", "", clientv3.WithIgnoreValue(), clientv3.WithPrevKV())
	must(err)
	expect(string(changed.PrevKv.Value) == "1", "the value before is told", changed)
	_, err = client.Put(ctx, "go/kv/none", "", clientv3.WithIgnoreValue())
	refused(err, rpctypes.ErrKeyNotFound)
	_, err = client.Get(ctx, "go/kv/a", clientv3.WithRev(third+1_000_000))
	refused(err, rpctypes.ErrFutureRev)
	_, err = client.Put(ctx, "", "x")
	refused(err, rpctypes.ErrEmptyKey)
	_, err = client.Put(ctx, "go/kv/large", string(make([]byte, 1600*1024)))
	refused(err, rpctypes.ErrRequestTooLarge)

	inside := namespace.NewKV(client.KV, "go/kv/")
	expect(string(get(ctx, inside, "b").Kvs[0].Key) == "b", "a namespace hides its prefix")
	gone, err := client.Delete(ctx, "go/kv/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	must(err)
	expect(gone.Deleted == 3 && len(gone.PrevKvs) == 3, "a delete tells what was there", gone)
}

func transactions(ctx context.Context, _ target, client *clientv3.Client) {
	put(ctx, client, "go/txn/a", "1")
	inner := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("go/txn/b"), "=", 0)},
		[]clientv3.Op{clientv3.OpPut("go/txn/b", "made")},
		[]clientv3.Op{clientv3.OpDelete("go/txn/b")},
	)
	txn := func() *clientv3.TxnResponse {
		response, err := client.Txn(ctx).
			If(
				clientv3.Compare(clientv3.Value("go/txn/a"), "=", "1"),
				clientv3.Compare(clientv3.Version("go/txn/a"), "<", 5),
				clientv3.Compare(clientv3.ModRevision("go/txn/").WithPrefix(), ">", 0),
				clientv3.Compare(clientv3.LeaseValue("go/txn/a"), "=", 0),
			).
			Then(clientv3.OpGet("go/txn/a"), inner, clientv3.OpGet("go/txn/", clientv3.WithPrefix())).
			Else(clientv3.OpPut("go/txn/else", "1")).
			Commit()
		must(err)
		return response
	}
	response := txn()
	expect(response.Succeeded && response.Responses[1].GetResponseTxn().Succeeded, "both take their branch", response)
	expect(len(response.Responses[2].GetResponseRange().Kvs) == 2, "an operation sees those before it", response)
	response = txn()
	expect(response.Succeeded && !response.Responses[1].GetResponseTxn().Succeeded, "the inner one took the other", response)
	put(ctx, client, "go/txn/a", "2")
	expect(!txn().Succeeded, "a compare that fails")
	expect(len(get(ctx, client, "go/txn/else").Kvs) == 1, "the other branch was run")

	_, err := client.Txn(ctx).Then(clientv3.OpPut("go/txn/x", "1"), clientv3.OpPut("go/txn/x", "2")).Commit()
	refused(err, rpctypes.ErrDuplicateKey)
	many := make([]clientv3.Op, 129)
	for at := range many {
		many[at] = clientv3.OpGet("go/txn/a")
	}
	_, err = client.Txn(ctx).Then(many...).Commit()
	refused(err, rpctypes.ErrTooManyOps)
	answer, err := client.Do(ctx, clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet("go/txn/a")}, nil))
	must(err)
	expect(answer.Txn().Succeeded, "a transaction without a compare succeeds", answer)
}

func compaction(ctx context.Context, _ target, client *clientv3.Client) {
	old := put(ctx, client, "go/compact", "1")
	put(ctx, client, "go/compact", "2")
	newest := put(ctx, client, "go/compact", "3")
	_, err := client.Compact(ctx, newest-1, clientv3.WithCompactPhysical())
	must(err)
	_, err = client.Get(ctx, "go/compact", clientv3.WithRev(old))
	refused(err, rpctypes.ErrCompacted)
	kept := get(ctx, client, "go/compact", clientv3.WithRev(newest-1))
	expect(string(kept.Kvs[0].Value) == "2", "the compacted revision itself is kept", kept)
	_, err = client.Compact(ctx, newest-1)
	refused(err, rpctypes.ErrCompacted)
	_, err = client.Compact(ctx, newest+1_000_000)
	refused(err, rpctypes.ErrFutureRev)
}
