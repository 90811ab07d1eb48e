package node

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// The page that lists every key with its default must be true.
func TestDocumentedConfigurationIsTheDefault(t *testing.T) {
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/configuration.md holds no YAML")
	}
	got, err := LoadConfig(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	for _, list := range []*[]string{&got.Energy.Ignore, &got.Energy.Board} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(got.Agents.Known) == 0 {
		got.Agents.Known = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the page says\n%+v\nthe default is\n%+v", got, want)
	}
}

func TestConfigMistakesAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":      {"interval: 1s\nintervall: 2s\n", "line 2: unknown key intervall"},
		"unknown nested":   {"agents:\n  sliced: x\n", "line 2: unknown key sliced"},
		"wrong unit":       {"interval: 5\n", "line 1: cannot unmarshal !!int `5`: want a duration with its unit"},
		"too often":        {"interval: 5ms\n", "interval 5ms: want 100ms to 1m"},
		"not a duration":   {"interval: fast\n", "line 1"},
		"not YAML":         {"a: [\n", "line"},
		"two documents":    {"interval: 1s\n---\ninterval: 2s\n", "more than one"},
		"max under idle":   {"energy: {idle_watts: 9, max_watts: 3}\n", "above"},
		"not a number":     {"energy: {idle_watts: .nan}\n", "want 0 to"},
		"agent name":       {"agents: {known: [{name: Bad Name, cgroup: /a}]}\n", "Bad Name"},
		"reserved name":    {"agents: {known: [{name: system, cgroup: /a}]}\n", "account of the node"},
		"escaping cgroup":  {"agents: {known: [{name: a, cgroup: ../../a}]}\n", "'..'"},
		"root cgroup":      {"agents: {known: [{name: a, cgroup: /}]}\n", "root cgroup"},
		"same cgroup":      {"agents: {known: [{name: a, cgroup: /x}, {name: b, cgroup: x/}]}\n", "same cgroup"},
		"twice":            {"agents: {known: [{name: a, cgroup: /x}, {name: a, cgroup: /y}]}\n", "twice"},
		"no place":         {"agents: {known: [{name: a}]}\n", "give the cgroup or the unit"},
		"both":             {"agents: {known: [{name: a, cgroup: /x, unit: a.service}]}\n", "not both"},
		"bad slice":        {"agents: {slice: ../x}\n", "agents.slice"},
		"bad source":       {"sensor: {source: magic}\n", "sensor.source"},
		"bad address":      {"metrics: {address: nine}\n", "host:port"},
		"tiny store":       {"store: {max_bytes: 10}\n", "store.max_bytes"},
		"commit too often": {"store: {commit_every: 1ms}\n", "commit_every"},
		"empty path":       {"path: {sysfs: \"\"}\n", "path.sysfs is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := LoadConfig(write(t, c.text))
			if err == nil {
				err = cfg.Validate()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file is no error")
	}
	if _, err := LoadConfig(write(t, strings.Repeat("#", maxConfigBytes+1))); err == nil {
		t.Error("a huge file is no error")
	}
	if _, err := LoadConfig(write(t, "")); err != nil {
		t.Errorf("an empty file means the defaults, got %v", err)
	}
}
