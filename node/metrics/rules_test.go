package metrics

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const rulesDir = "../../packaging/prometheus"

// program finds a program that Debian packages, or proves that it is missing.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (make setup): %v", name, err)
	}
	return path
}

// Each alert fires when it should and not otherwise: packaging/prometheus has
// the cases.
func TestAlertRules(t *testing.T) {
	promtool := program(t, "promtool")
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "cam-node.rules.test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = rulesDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// Every alert has a test and says what to do; every metric exists.
func TestAlertsAreDocumented(t *testing.T) {
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	text := read(filepath.Join(rulesDir, "cam-node.rules.yaml"))
	tests, runbook := read(filepath.Join(rulesDir, "cam-node.rules.test.yaml")), read("../../docs/operating.md")
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Record, Expr string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			for _, m := range metricsIn(r.Expr) {
				if !known(t, m) {
					t.Errorf("%s%s asks for %s, which nobody exports", r.Alert, r.Record, m)
				}
			}
			if r.Alert == "" {
				if !strings.Contains(tests, "expr: "+r.Record) && !strings.Contains(tests, "("+r.Record) {
					t.Errorf("%s has no test", r.Record)
				}
				continue
			}
			alerts++
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
				t.Errorf("%s lacks a summary, description or severity", r.Alert)
			}
			_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "docs/operating.md#")
			if anchor != strings.ToLower(r.Alert) || !strings.Contains(runbook, "\n#### "+r.Alert+"\n") {
				t.Errorf("%s: docs/operating.md has no heading for %q", r.Alert, r.Annotations["runbook_url"])
			}
			if strings.Count(tests, "alertname: "+r.Alert+",")+strings.Count(tests, "alertname: "+r.Alert+"\n") < 1 {
				t.Errorf("%s has no test", r.Alert)
			}
		}
	}
	if alerts == 0 {
		t.Error("no alerts")
	}
}

var metricName = regexp.MustCompile(`\b(?:cam|process|scrape)_[a-z_]+\b`)

// metricsIn names the metrics of a PromQL expression, without what it was
// recorded from.
func metricsIn(expr string) []string {
	var names []string
	for _, m := range metricName.FindAllStringIndex(expr, -1) {
		if m[0] == 0 || expr[m[0]-1] != ':' {
			names = append(names, expr[m[0]:m[1]])
		}
	}
	return names
}

// known: a metric that the node or Prometheus itself exports, as docs/metrics.md
// has it.
func known(t *testing.T, metric string) bool {
	t.Helper()
	data, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(metric, "process_") || strings.HasPrefix(metric, "scrape_") {
		return true
	}
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(metric, suffix); ok && strings.Contains(string(data), "| `"+name+"` |") {
			return true
		}
	}
	return false
}
