package main

import (
	"context"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
)

// controllers are the ones whose effect a test can see without nodes: ownerReferences, namespace deletion, the
// ServiceAccount `default` of every namespace, and what admin, edit and view get from other ClusterRoles.
var controllers = []string{
	"clusterrole-aggregation-controller",
	"garbage-collector-controller",
	"namespace-controller",
	"serviceaccount-controller",
}

// Well above the defaults of 20 and 30: with those, deleting a namespace waits for the client instead of the server.
const (
	controllersQPS   = 500
	controllersBurst = 1000
)

// runControllers runs kube-controller-manager with a few controllers until the context ends.
func runControllers(ctx context.Context, kubeconfig string) error {
	if err := waitUntilReady(ctx, kubeconfig); err != nil {
		return err
	}
	manager, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	// Set by fields, never by flags: flags collide with those of the API server in this process.
	manager.Generic.ClientConnection.Kubeconfig = kubeconfig
	manager.Generic.ClientConnection.QPS = controllersQPS
	manager.Generic.ClientConnection.Burst = controllersBurst
	manager.Generic.Controllers = controllers
	manager.Generic.LeaderElection.LeaderElect = false
	manager.SecureServing.BindPort = 0 // its default is the fixed port 10257
	config, err := manager.Config(ctx, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err != nil {
		return err
	}
	return app.Run(ctx, config.Complete())
}

func waitUntilReady(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var status int
		client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
		return status == http.StatusOK, nil // not listening yet is the usual case, not an error
	})
}
