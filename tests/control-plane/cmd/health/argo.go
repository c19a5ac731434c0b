package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// argo runs a health script as Argo CD 3.6 does (util/lua/lua.go, gitops-engine/pkg/health/health.go). Its own code
// needs most of Argo CD, and another Go.
type argo struct {
	script string
}

var argoStatuses = []string{"Unknown", "Progressing", "Suspended", "Healthy", "Degraded", "Missing"}

func newArgo(path string) (*argo, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &argo{string(text)}, nil
}

func (a *argo) health(object *unstructured.Unstructured) (*opinion, error) {
	if a == nil {
		return nil, nil
	}
	// A script from argocd-cm gets no libraries but these; os is reduced to the time, which no script here needs.
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		if err := state.PCall(1, 0, nil); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(a.script); err != nil {
		return nil, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script returned a %s, not a table", state.Get(-1).Type())
	}
	text := func(key string) string { return lua.LVAsString(table.RawGetString(key)) }
	health := &opinion{text("status"), text("message")}
	if !slices.Contains(argoStatuses, health.Status) {
		return nil, fmt.Errorf("the script returned the status %q", health.Status)
	}
	if object.GetDeletionTimestamp() == nil {
		return health, nil
	}
	// Argo CD before 3.6 knows no deletionMessage, and always says Progressing.
	if message := text("deletionMessage"); message != "" {
		return &opinion{health.Status, message}, nil
	}
	message := "Pending deletion; blocked by finalizers: " + strings.Join(object.GetFinalizers(), ", ")
	return &opinion{"Progressing", message}, nil
}

// value is a JSON value as Lua sees it.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case float64:
		return lua.LNumber(from)
	case int64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.CreateTable(len(from), 0)
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(from))
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}
