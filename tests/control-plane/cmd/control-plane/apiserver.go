package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/component-base/compatibility"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

func runAPIServer(ctx context.Context, args []string) error {
	flags, exitOnEOF := newFlags("apiserver")
	kubeconfig := flags.String("controllers-kubeconfig", "", "also run the controllers, with this kubeconfig")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *exitOnEOF {
		exitOnStdinEOF()
	}

	// The ready-made cobra command installs signal handlers of its own when it is constructed: options and Run instead.
	server := options.NewServerRunOptions()
	serverFlags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range server.Flags().FlagSets {
		serverFlags.AddFlagSet(set)
	}
	if err := serverFlags.Parse(flags.Args()); err != nil {
		return fmt.Errorf("kube-apiserver flags: %w", err)
	}
	registry := server.GenericServerRunOptions.ComponentGlobalsRegistry
	if err := registry.Set(); err != nil { // must come before Complete
		return fmt.Errorf("feature gates: %w", err)
	}
	gates := registry.FeatureGateFor(compatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(server.Logs, gates); err != nil {
		return fmt.Errorf("logging: %w", err)
	}
	completed, err := server.Complete(ctx)
	if err != nil {
		return fmt.Errorf("completing the options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return utilerrors.NewAggregate(errs)
	}

	// Whichever of the two ends, ends the other: an API server whose controllers are gone would make tests hang.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan error, 2)
	go func() { stopped <- named("kube-apiserver", app.Run(ctx, completed)) }()
	running := 1
	if *kubeconfig != "" {
		running++
		go func() { stopped <- named("controllers", runControllers(ctx, *kubeconfig)) }()
	}
	var errs []error
	for range running {
		errs = append(errs, <-stopped)
		cancel()
	}
	return errors.Join(errs...)
}

// named says who stopped. An end that was asked for is not an error.
func named(who string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", who, err)
}
