package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cam-os/edge/node/observe"
)

// dashboard is what the test asks of the Grafana model.
type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr, LegendFormat string }
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct {
		List []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	data, err := os.ReadFile("../../packaging/grafana/cam-node.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDashboardHangsTogether(t *testing.T) {
	d := readDashboard(t)
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have id %d", p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, there := taken[at]; there || at[0] >= 24 {
					t.Errorf("%q lies over %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%q asks for nothing", p.Title)
		}
		for _, q := range p.Targets {
			for _, m := range metricsIn(q.Expr) {
				if !known(t, m) {
					t.Errorf("%q asks for %s, which nobody exports", p.Title, m)
				}
			}
		}
	}
	shown := fmt.Sprint(d.Panels)
	for _, f := range families {
		if strings.HasPrefix(f.name, "cam_agent_") && !slices.Contains(notDrawn, strings.TrimPrefix(f.name, "cam_agent_")) && !strings.Contains(shown, f.name) {
			t.Errorf("no panel shows %s", f.name)
		}
	}
}

// notDrawn are figures of agents that say nothing over time which another one
// does not.
var notDrawn = []string{
	"block_operations_total", "context_switches_total", "cpu_cfs_throttled_periods_total", "cpu_cycles_total", "info", "memory_max_usage_bytes",
	"memory_swap_bytes", "memory_usage_bytes", "network_receive_packets_total", "network_transmit_packets_total",
}

// A real Prometheus scrapes a real page; every query of the dashboard has an
// answer.
func TestDashboardHasFigures(t *testing.T) {
	prometheus := program(t, "prometheus")
	target := fixtureEndpoint(t)
	address := startPrometheus(t, prometheus, target)
	d := readDashboard(t)
	queries := map[string]string{}
	add := func(where, expr string) {
		expr = strings.NewReplacer("$instance", ".*", "$agent", ".*", "$zone", "package", "$__rate_interval", "10s").Replace(expr)
		if strings.Contains(expr, "$") {
			t.Errorf("%s: an unknown variable in %s", where, expr)
		}
		queries[expr] = where
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			add(p.Title, q.Expr)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("variable %s: %s", v.Name, v.Definition)
			continue
		}
		add("variable "+v.Name, fmt.Sprintf("count by (%s) (%s)", m[2], m[1]))
	}
	for _, a := range d.Annotations.List {
		add("an annotation", a.Expr)
	}
	if len(queries) < 30 {
		t.Fatalf("only %d queries", len(queries))
	}
	end := time.Now().Add(40 * time.Second)
	for expr, where := range queries {
		for {
			n, err := ask(address, expr)
			if err == nil && n > 0 {
				break
			}
			if time.Now().After(end) || err != nil && strings.Contains(err.Error(), "bad_data") {
				t.Errorf("%s: %s: %d series, %v", where, expr, n, err)
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// fixtureEndpoint serves everything() with a new interval at each scrape.
func fixtureEndpoint(t *testing.T) string {
	t.Helper()
	var n atomic.Int64
	var gauges []Gauge
	for _, name := range []string{"cam_node_written_bytes_total", "cam_store_bytes", "cam_store_max_bytes"} {
		gauges = append(gauges, Gauge{Name: name, Help: "Test.", Counter: strings.HasSuffix(name, "_total"), Value: func() float64 { return float64(n.Load()) }})
	}
	var mu sync.Mutex
	latest, made := everything(1), time.Now()
	step := func() *observe.Observation { // as a node does it: each value is one observation
		mu.Lock()
		defer mu.Unlock()
		if time.Since(made) > 500*time.Millisecond {
			latest, made = everything(int(n.Add(1))+1), time.Now()
		}
		return latest
	}
	s, err := Listen(Config{Address: "localhost:0"}, NewCollector(step, gauges...), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		<-done
	})
	return s.Address()
}

func startPrometheus(t *testing.T, program, target string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, dir := l.Addr().String(), t.TempDir()
	_ = l.Close()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: cam-node\n  static_configs: [{targets: [%q]}]\n", target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(program, "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "tsdb"), "--web.listen-address", address)
	var log bytes.Buffer
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", &log)
		}
	})
	return address
}

// ask returns how many series answer a query.
func ask(address, expr string) (int, error) {
	resp, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var r struct {
		ErrorType, Error string
		Data             struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return 0, err
	}
	if r.Error != "" {
		return 0, fmt.Errorf("%s: %s", r.ErrorType, r.Error)
	}
	return len(r.Data.Result), nil
}
