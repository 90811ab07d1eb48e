package wire

import (
	"encoding/json"
	"testing"
)

func TestLasting(t *testing.T) {
	for counter, want := range map[string]bool{
		Stake:                            true,
		"cam_node_energy_joules_total{}": true,
		"cam_store_commits_total{}":      false,
		"go_gc_cycles_total{}":           false,
		"process_cpu_seconds_total{}":    false,
		"cam_node_sample_late_total{}":   false,
	} {
		if Lasting(counter) != want {
			t.Errorf("Lasting(%q) is %v", counter, !want)
		}
	}
}

// A request is one line, whatever it carries.
func TestOneLine(t *testing.T) {
	in := Request{ID: 1, Script: "a\nb", Stdin: []byte("c\n\x00\xff")}
	line, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range line {
		if b == '\n' {
			t.Fatalf("%q has more than one line", line)
		}
	}
	var out Request
	if err := json.Unmarshal(line, &out); err != nil || out.Script != in.Script || string(out.Stdin) != string(in.Stdin) {
		t.Errorf("%+v became %+v (%v)", in, out, err)
	}
}
