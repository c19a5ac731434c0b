// Command health says what kstatus, Flux and Argo CD make of an object.
package main

import (
	_ "github.com/google/cel-go/cel"
	_ "github.com/yuin/gopher-lua"
	_ "sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {}
