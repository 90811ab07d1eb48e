package probecost_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/probecost"
	"github.com/cam-os/edge/ebpf/sensor"
)

func twoLeaves(t testing.TB) []string {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		t.Skip(err)
	}
	var dirs []string
	for i := range 2 {
		p := fmt.Sprintf("/cam-test-probecost-%d-%d", os.Getpid(), i)
		if err := h.Create(p); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for range 500 {
				if err = h.Remove(p); err == nil {
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
			t.Error(err)
		})
		dir, err := h.Dir(p)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func needsRights(t testing.TB) {
	t.Helper()
	s, err := sensor.Open(sensor.Config{Force: sensor.EBPF})
	if err == nil {
		_ = s.Close()
		return
	}
	if _, btf := os.Stat("/sys/kernel/btf/vmlinux"); os.Geteuid() == 0 && btf == nil {
		t.Fatal(err)
	}
	t.Skip(err)
}

// A figure is a figure: how big it may be is for bench/ to say.
func TestMeasure(t *testing.T) {
	needsRights(t)
	for name, c := range map[string]probecost.Config{
		"one cgroup":  {Rounds: 3, Each: 50 * time.Millisecond},
		"two cgroups": {Rounds: 3, Each: 50 * time.Millisecond, Cgroups: twoLeaves(t)},
	} {
		r, err := probecost.Measure(c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Empty <= 0 || r.Above() <= 0 || r.NoWaitsAbove() <= 0 || min(r.EmptyRate, r.SensorRate, r.NoWaitsRate) < 100 {
			t.Errorf("%s: %+v", name, r)
		}
		t.Logf("%s: %+v, above an empty program %v, without waits %v", name, r, r.Above(), r.NoWaitsAbove())
	}
}

func TestMeasureRefuses(t *testing.T) {
	for _, c := range []probecost.Config{{Rounds: -1}, {Each: -1}, {Cgroups: []string{"", "", ""}}} {
		if _, err := probecost.Measure(c); err == nil || !strings.Contains(err.Error(), "cannot run") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	needsRights(t)
	if _, err := probecost.Measure(probecost.Config{Cgroups: []string{"/nonexistent"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no cgroup: %v", err)
	}
}

func BenchmarkSwitch(b *testing.B) {
	needsRights(b)
	for name, dirs := range map[string][]string{"one cgroup": nil, "two cgroups": twoLeaves(b)} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				r, err := probecost.Measure(probecost.Config{Cgroups: dirs})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(r.Empty), "empty-ns/switch")
				b.ReportMetric(float64(r.Sensor), "sensor-ns/switch")
				b.ReportMetric(float64(r.Above()), "above-ns/switch")
				b.ReportMetric(float64(r.NoWaitsAbove()), "above-without-waits-ns/switch")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
