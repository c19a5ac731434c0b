package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// flux holds the health checks of a Flux Kustomization; they are evaluated by Flux's own code.
type flux struct {
	checks []kustomize.CustomHealthCheck
}

func newFlux(path string) (*flux, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(kustomization.Spec.HealthCheckExprs) == 0 {
		return nil, fmt.Errorf("%s: no spec.healthCheckExprs", path)
	}
	return &flux{kustomization.Spec.HealthCheckExprs}, nil
}

func (f *flux) health(ctx context.Context, object *unstructured.Unstructured) (*opinion, error) {
	if f == nil {
		return nil, nil
	}
	reader, err := cel.NewStatusReader(f.checks)
	if err != nil {
		return nil, err
	}
	flux := reader(nil)
	if !flux.Supports(object.GroupVersionKind().GroupKind()) {
		return nil, nil
	}
	result, err := flux.ReadStatusForObject(ctx, nil, object)
	if err != nil {
		return nil, err
	}
	if result.Error != nil {
		return nil, result.Error
	}
	return &opinion{string(result.Status), result.Message}, nil
}
