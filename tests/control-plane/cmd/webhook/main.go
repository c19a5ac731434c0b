// Command webhook is the mutating webhook of Azure Workload Identity, the one that puts tokens into pods: upstream's
// pkg/webhook behind a server of our own.
//
// Upstream's own main rotates its certificate through a Secret and listens on a fixed port of all addresses. Here the
// test brings the certificate and chooses a port of the loopback address. The mutation is upstream's, unchanged. It
// takes AZURE_TENANT_ID from the environment, as in its Deployment.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	wi "github.com/Azure/azure-workload-identity/pkg/webhook"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "webhook:", err)
		os.Exit(1)
	}
}

func run() error {
	// controller-runtime registers --kubeconfig in the default set.
	flags := flag.NewFlagSet("webhook", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
	certificates := flags.String("cert-dir", "", "directory with tls.crt and tls.key")
	port := flags.Int("port", 0, "port of 127.0.0.1 to serve /mutate-v1-pod on")
	audience := flags.String("audience", wi.DefaultAudience, "audience of the projected tokens")
	exitOnEOF := flags.Bool("exit-on-stdin-eof", false, "exit at once when standard input ends: the parent is gone")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *kubeconfig == "" || *certificates == "" || *port == 0 {
		return errors.New("--kubeconfig, --cert-dir and --port are needed")
	}
	if *exitOnEOF {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	ctrl.SetLogger(klog.Background())

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host:    "127.0.0.1",
			Port:    *port,
			CertDir: *certificates,
		}),
	})
	if err != nil {
		return err
	}
	mutator, err := wi.NewPodMutator(
		manager.GetClient(), manager.GetAPIReader(), *audience, manager.GetScheme(), manager.GetConfig(), "", "")
	if err != nil {
		return err
	}
	manager.GetWebhookServer().Register("/mutate-v1-pod", &webhook.Admission{Handler: admission.Handler(mutator)})
	return manager.Start(ctrl.SetupSignalHandler())
}
