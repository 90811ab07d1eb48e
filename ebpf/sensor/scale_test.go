package sensor

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// BenchmarkLook is the cost of a look at 500 processes in 50 cgroups, each of
// which has done I/O.
func BenchmarkLook(b *testing.B) {
	h := hierarchy(b)
	dir := diskDir(b)
	s := kernelSensor(b, Config{})
	for i := range 50 {
		l := newLeaf(b, h, "")
		for j := range 10 {
			start(b, l.dir, fmt.Sprintf("write:%s/f%d-%d:4096", dir, i, j), "wait").ready()
		}
	}
	from := cpuTime()
	for b.Loop() {
		if _, err := s.Snapshot(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-from).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(residentKB(b)), "rss-kB")
}

func residentKB(tb testing.TB) (kb int) {
	tb.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kb); err == nil {
			return kb
		}
	}
	return 0
}
