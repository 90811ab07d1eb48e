package node

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestCheckedConfigurationNamesTheLine(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"value":      {"# a comment\n\ninterval: 1ms\n", ": line 3: interval 1ms"},
		"nested":     {"store:\n  commit_every: 2m\n  max_bytes: 10\n", ": line 3: store.max_bytes 10"},
		"in a list":  {"agents:\n  known:\n  - {name: a, unit: a.service}\n  - name: B\n    unit: b.service\n", ": line 4: agents.known[1]"},
		"absent key": {"\nagents: {max: 600}\n", ": line 2: agents.max_accounts"},
		"syntax":     {"interval: 1s\n\tmax: 1\n", "line 2"},
		"unknown":    {"interval: 1s\nintreval: 1s\n", "line 2: unknown key intreval"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.text)
			_, err := CheckConfig(path)
			if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q after the file's name", err, c.want)
			}
		})
	}
	if _, err := CheckConfig(write(t, "interval: 2s\n")); err != nil {
		t.Error(err)
	}
	if _, err := CheckConfig("/nonexistent/node.yaml"); err == nil {
		t.Error("a missing file is no error")
	}
}

// The file that packages install says what the node does without it.
func TestPackagedConfigurationIsTheDefault(t *testing.T) {
	got, err := CheckConfig("../packaging/node.yaml")
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
		t.Errorf("the file says\n%+v\nthe default is\n%+v", got, want)
	}
	// Every key is there to be changed.
	asDocumented, err := os.ReadFile("../packaging/node.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys := func(data []byte) map[string]any {
		var m map[string]any
		if err := yaml.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	all, err := yaml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	have := keys(asDocumented)
	for section, v := range keys(all) {
		inner, nested := v.(map[string]any)
		if _, ok := have[section]; !ok {
			t.Errorf("%s is missing", section)
			continue
		}
		if !nested {
			continue
		}
		for key := range inner {
			if _, ok := have[section].(map[string]any)[key]; !ok {
				t.Errorf("%s.%s is missing", section, key)
			}
		}
	}
}
