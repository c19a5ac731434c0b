// Command control-plane is a real Kubernetes control plane for tests, without containers: etcd in one process,
// kube-apiserver with the few controllers that tests observe in another.
//
// They are two processes, so that a test can kill the API server and start it again on the same data.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage:
  control-plane etcd --data-dir DIR --listen HOST:PORT [--peer HOST:PORT]
  control-plane apiserver [--controllers-kubeconfig FILE] -- KUBE-APISERVER-FLAGS...

Both stop cleanly on SIGTERM, and with --exit-on-stdin-eof also when their standard input ends.
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "control-plane:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("a subcommand is missing\n%s", usage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "etcd":
		return runEtcd(ctx, args[1:])
	case "apiserver":
		return runAPIServer(ctx, args[1:])
	default:
		return fmt.Errorf("unknown subcommand %q\n%s", args[0], usage)
	}
}

// newFlags makes the flag set of a subcommand, with the flag that both share.
func newFlags(name string) (*flag.FlagSet, *bool) {
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	return flags, flags.Bool("exit-on-stdin-eof", false, "exit at once when standard input ends: the parent is gone")
}

// exitOnStdinEOF ends the process when its standard input does. The parent holds the other end of that pipe, and the
// kernel closes it however the parent dies, even by SIGKILL: nothing is left behind. There is nobody left to save
// data for, so it does not wait for a clean stop.
func exitOnStdinEOF() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}
