package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// walSegmentBytes is 1 MiB instead of etcd's 64 MiB: every test binary has an etcd of its own, often on tmpfs, and a
// segment is allocated as a whole.
const walSegmentBytes = 1 << 20

func runEtcd(ctx context.Context, args []string) error {
	flags, exitOnEOF := newFlags("etcd")
	dataDir := flags.String("data-dir", "", "directory for the data")
	listen := flags.String("listen", "", "host:port for clients, plain HTTP")
	peer := flags.String("peer", "127.0.0.1:0", "host:port for peers; there are none, so any free port does")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dataDir == "" || *listen == "" {
		return errors.New("etcd needs --data-dir and --listen")
	}
	if *exitOnEOF {
		exitOnStdinEOF()
	}

	wal.SegmentSizeBytes = walSegmentBytes
	config := embed.NewConfig()
	config.Dir = *dataDir
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true // the data is worth nothing after the test
	clients := []url.URL{{Scheme: "http", Host: *listen}}
	peers := []url.URL{{Scheme: "http", Host: *peer}}
	config.ListenClientUrls, config.AdvertiseClientUrls = clients, clients
	config.ListenPeerUrls, config.AdvertisePeerUrls = peers, peers
	config.InitialCluster = config.InitialClusterFromName(config.Name)

	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
		fmt.Fprintln(os.Stderr, "etcd is ready on", *listen)
	case err := <-server.Err():
		return fmt.Errorf("etcd stopped while starting: %w", err)
	case <-ctx.Done():
		return nil
	}
	select {
	case err := <-server.Err():
		return fmt.Errorf("etcd stopped: %w", err)
	case <-ctx.Done():
		return nil
	}
}
