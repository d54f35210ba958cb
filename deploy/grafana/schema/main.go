// Holds dashboards to the types that Grafana makes of its own schemas: a field that is none, a value of another type, or one beyond its
// bounds is a fault. Nothing of Grafana runs for it.
//
//	schema DASHBOARD.json...
//
// Exit: 0 all are well, 1 one is not.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	bad := false
	for _, file := range os.Args[1:] {
		if err := look(file); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			bad = true
		}
	}
	if bad {
		os.Exit(1)
	}
}

// What the dashboard's own type reads loosely, since it could be of any data source.
type queries struct {
	Panels []struct {
		Targets []json.RawMessage
	}
}

func look(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var strict, board dashboard.Dashboard
	var queries queries
	if err := errors.Join(told(strict.UnmarshalJSONStrict(raw)), json.Unmarshal(raw, &board), json.Unmarshal(raw, &queries)); err != nil {
		return err
	}
	faults := told(board.Validate())
	for number, item := range board.Panels {
		panel := item.Panel
		if panel == nil {
			continue
		}
		// Its options would be taken as they are.
		if _, known := cog.ConfigForPanelcfgVariant(panel.Type); !known {
			faults = errors.Join(faults, fmt.Errorf("panels[%d].type: %s is not registered in this program", number, panel.Type))
		}
		for place, target := range queries.Panels[number].Targets {
			var query prometheus.Dataquery
			if err := told(query.UnmarshalJSONStrict(target)); err != nil {
				faults = errors.Join(faults, fmt.Errorf("panels[%d].targets[%d]: %w", number, place, err))
			}
		}
	}
	return faults
}

// The library says that there are no faults by an empty list of them.
func told(err error) error {
	var faults cog.BuildErrors
	if errors.As(err, &faults) && len(faults) == 0 {
		return nil
	}
	return err
}
