// The program clientv3 drives a cluster with the Go client of etcd: what it does must work as it
// does against etcd.
//
// Usage: clientv3 HOST:PORT,HOST:PORT,… [CA.pem USER PASSWORD]
//
// It prints a line `ok <feature>` for each feature that works, and ends with 0 if all do.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A feature may take this long on a busy machine.
const within = 30 * time.Second

// target is the cluster under test and how to reach it.
type target struct {
	endpoints []string
	tls       *tls.Config
	user      string
	password  string
}

func (t target) secured() bool { return t.tls != nil }

// connectAs opens a client of its own; the caller closes it.
func (t target) connectAs(user, password string, endpoints ...string) *clientv3.Client {
	if len(endpoints) == 0 {
		endpoints = t.endpoints
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		TLS:         t.tls,
		Username:    user,
		Password:    password,
		DialTimeout: within,
		Logger:      zap.NewNop(),
	})
	must(err)
	return client
}

func (t target) connect(endpoints ...string) *clientv3.Client {
	return t.connectAs(t.user, t.password, endpoints...)
}

func parseTarget(arguments []string) target {
	t := target{endpoints: strings.Split(arguments[0], ",")}
	if len(arguments) > 1 {
		pem, err := os.ReadFile(arguments[1])
		must(err)
		pool := x509.NewCertPool()
		expect(pool.AppendCertsFromPEM(pem), "the CA file has a certificate")
		t.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
		t.user, t.password = arguments[2], arguments[3]
	}
	return t
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(holds bool, what string, values ...any) {
	if !holds {
		panic(fmt.Sprintf("%s: %v", what, values))
	}
}

// refused expects an error that clients compare with ==, or by its text.
func refused(err error, want error) {
	var wanted rpctypes.EtcdError
	if errors.As(want, &wanted) {
		expect(rpctypes.Error(err) == want, "the error is the one of etcd", err, want)
		return
	}
	expect(errors.Is(err, want), "the error is the expected one", err, want)
}

type feature struct {
	name string
	run  func(context.Context, target, *clientv3.Client)
}

func main() {
	if len(os.Args) != 2 && len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: clientv3 HOST:PORT,… [CA.pem USER PASSWORD]")
		os.Exit(2)
	}
	t := parseTarget(os.Args[1:])
	client := t.connect()
	defer client.Close()
	// What an earlier run has left.
	_, err := client.Delete(context.Background(), "go/", clientv3.WithPrefix())
	must(err)
	for _, feature := range []feature{
		{"keys and ranges", keysAndRanges},
		{"transactions", transactions},
		{"compaction", compaction},
		{"watches", watches},
		{"watch progress", watchProgress},
		{"watch fragments", watchFragments},
		{"leases", leases},
		{"locks", locks},
		{"elections", elections},
		{"software transactions", softwareTransactions},
		{"caches and mirrors", cachesAndMirrors},
		{"members", members},
		{"maintenance", maintenance},
		{"users and roles", usersAndRoles},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		feature.run(ctx, t, client)
		cancel()
		fmt.Printf("ok %s\n", feature.name)
	}
}
