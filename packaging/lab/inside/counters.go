package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cam-os/edge/packaging/lab/wire"
)

// node is where the node shows its metrics.
const node = "http://127.0.0.1:9465/metrics"

// counters saves or checks the cumulative counters that an endpoint shows.
func counters(endpoint, what, file string) error {
	now, err := scrape(endpoint)
	if err != nil {
		return err
	}
	if what == "save" {
		data, err := json.Marshal(now)
		if err != nil {
			return err
		}
		return os.WriteFile(file, data, 0o600) // #nosec G703 -- the scenario names it
	}
	data, err := os.ReadFile(file) // #nosec G304 G703 -- the scenario names it
	if err != nil {
		return err
	}
	var before map[string]float64
	if err := json.Unmarshal(data, &before); err != nil {
		return err
	}
	var wrong []string
	for name, v := range before {
		if !wire.Lasting(name) {
			continue
		}
		switch is, ok := now[name]; {
		case !ok && v == 0:
			// An agent that has ended shows what it used, and nothing else.
		case !ok:
			wrong = append(wrong, fmt.Sprintf("%s is gone, was %v", name, v))
		case is < v:
			wrong = append(wrong, fmt.Sprintf("%s went back from %v to %v", name, v, is))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d of %d counters:\n%s", len(wrong), len(before), strings.Join(wrong, "\n"))
	}
	fmt.Printf("%d counters, none went back\n", len(before))
	return nil
}

func scrape(endpoint string) (map[string]float64, error) {
	resp, err := http.Get(endpoint) // #nosec G107 -- the node, or a test
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, err
	}
	out := make(map[string]float64)
	for name, f := range families {
		if f.GetType() != dto.MetricType_COUNTER {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[name+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue()
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s shows no counters", endpoint)
	}
	return out, nil
}
