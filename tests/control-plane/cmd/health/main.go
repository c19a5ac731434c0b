// Command health says what kstatus, Flux and Argo CD make of objects.
//
//	health --lua health.lua --flux flux.yaml < objects.json
//
// It reads objects as JSON, one after the other, and prints one line of JSON for each.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// opinion is what one of the three says.
type opinion struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type answer struct {
	Name string `json:"name"`
	// What `kubectl wait`-like tools, Helm 4, and Flux without expressions say.
	Kstatus opinion `json:"kstatus"`
	// What Argo CD says with the script. Absent without one.
	Argo *opinion `json:"argo,omitempty"`
	// What Flux says with the expressions. Absent without any for this kind.
	Flux *opinion `json:"flux,omitempty"`
}

func main() {
	lua := pflag.String("lua", "", "health script for Argo CD")
	flux := pflag.String("flux", "", "file with a Flux Kustomization that has spec.healthCheckExprs")
	pflag.Parse()
	if err := run(*lua, *flux, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}

func run(lua, flux string, in io.Reader, out io.Writer) error {
	argoCD, err := newArgo(lua)
	if err != nil {
		return err
	}
	fluxCD, err := newFlux(flux)
	if err != nil {
		return err
	}
	objects, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var text json.RawMessage
		if err := objects.Decode(&text); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading objects: %w", err)
		}
		// Whole numbers stay whole, as in an object that comes from the API server.
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("understanding an object: %w", err)
		}
		answer, err := ask(&object, argoCD, fluxCD)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
}

func ask(object *unstructured.Unstructured, argoCD *argo, fluxCD *flux) (*answer, error) {
	result, err := status.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	answer := &answer{Name: object.GetName(), Kstatus: opinion{string(result.Status), result.Message}}
	if answer.Argo, err = argoCD.health(object); err != nil {
		return nil, fmt.Errorf("Argo CD: %w", err)
	}
	if answer.Flux, err = fluxCD.health(context.Background(), object); err != nil {
		return nil, fmt.Errorf("Flux: %w", err)
	}
	return answer, nil
}
