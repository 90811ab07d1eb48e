package metrics

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cam-os/edge/node/observe"
)

// endpoint serves on a real port; value is what cam_test_total says.
func endpoint(t *testing.T, latest func() *observe.Observation, value func() float64) string {
	t.Helper()
	gauge := Gauge{Name: "cam_test_total", Help: "Test.", Counter: true, Value: value}
	s, err := Listen(Config{Address: "localhost:0"}, NewCollector(latest, gauge), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Address()
}

func scrape(address string, header ...string) (string, *http.Response, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", nil, err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: 10 * time.Second}
	resp, err := c.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), resp, err
}

// Who holds connections and says nothing, or half a header, takes few
// descriptors and keeps nobody out.
func TestIdleConnectionsAreFew(t *testing.T) {
	address := endpoint(t, func() *observe.Observation { return nil }, func() float64 { return 1 })
	descriptors := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	before := descriptors()
	const held = 300
	for i := range held {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if i%2 == 0 { // it may be closed by now
			_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nX-Half: ")
		}
	}
	for range 5 {
		if _, _, err := scrape(address); err != nil {
			t.Error(err)
		}
	}
	if n := descriptors() - before - held; n > maxConns+5 {
		t.Errorf("the endpoint holds %d descriptors", n)
	}
}

func TestWhoGivesWay(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bound(raw, 2)
	defer func() { _ = l.Close() }()
	accept := func() *boundedConn {
		t.Helper()
		c, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		return a.(*boundedConn)
	}
	open := func(what string, want ...*boundedConn) {
		t.Helper()
		if l.conns.Len() != len(want) {
			t.Errorf("%s: %d are open", what, l.conns.Len())
		}
		for i, c := range want {
			if c.at == nil {
				t.Errorf("%s: %d is closed", what, i)
			}
		}
	}
	a, b := accept(), accept()
	l.state(a, http.StateActive)
	c := accept()
	open("the idle one goes", a, c)
	if b.at != nil {
		t.Error("it stays")
	}
	l.state(c, http.StateActive)
	d := accept()
	open("all busy: the oldest goes", c, d)
	l.state(c, http.StateIdle)
	l.state(c, http.StateClosed)
	e := accept()
	open("the one that waited longest goes", c, e)
	_ = c.Close()
	_ = c.Close()
	l.state(c, http.StateActive)
	open("closed", e)
	f := accept()
	open("room again", e, f)
}

func TestManyScrapersCostOneRendering(t *testing.T) {
	var o atomic.Pointer[observe.Observation]
	var gathered atomic.Int64
	o.Store(&observe.Observation{})
	address := endpoint(t, o.Load, func() float64 { return float64(gathered.Add(1)) })
	start := time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				if _, _, err := scrape(address, "Accept", "text/plain"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if n, most := gathered.Load(), int64(time.Since(start)/pageAge)+1; n > most {
		t.Errorf("gathered %d times for one observation, at most %d were due", n, most)
	}
	// A new observation is seen at once.
	before := gathered.Load()
	o.Store(&observe.Observation{Interval: time.Minute})
	body, _, err := scrape(address)
	if err != nil || !strings.Contains(body, "cam_observation_interval_seconds 60\n") || gathered.Load() != before+1 {
		t.Errorf("gathered %d more, %v", gathered.Load()-before, err)
	}
}

func TestFormats(t *testing.T) {
	address := endpoint(t, func() *observe.Observation { return nil }, func() float64 { return 1 })
	for _, c := range []struct{ accept, encoding, kind, coded string }{
		{"", "", "text/plain; version=0.0.4", ""},
		{"", "gzip;q=0", "text/plain; version=0.0.4", ""},
		{"application/openmetrics-text;version=1.0.0", "br, GZIP;q=0.5", "application/openmetrics-text; version=1.0.0", "gzip"},
		{"text/plain", "gzip", "text/plain; version=0.0.4", "gzip"},
	} {
		for range 2 { // rendered, and kept
			body, resp, err := scrape(address, "Accept", c.accept, "Accept-Encoding", c.encoding)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Header.Get("Content-Encoding") != c.coded || !strings.HasPrefix(resp.Header.Get("Content-Type"), c.kind) {
				t.Errorf("%+v: %v", c, resp.Header)
			}
			if c.coded != "" {
				z, err := gzip.NewReader(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := io.ReadAll(z)
				if err != nil {
					t.Fatal(err)
				}
				body = string(plain)
			}
			if !strings.Contains(body, "cam_test_total 1") || strings.HasSuffix(body, "# EOF\n") != strings.Contains(c.kind, "openmetrics") {
				t.Errorf("%+v: %.200s", c, body)
			}
		}
	}
}
