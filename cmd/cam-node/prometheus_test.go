package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program finds a program that Debian packages, or proves that it is missing.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (make setup): %v", name, err)
	}
	return path
}

func TestPromtoolFindsNothing(t *testing.T) {
	root(t)
	promtool := program(t, "promtool")
	d := newDevice(t, "")
	inProcess(t, d)
	d.agent("checked", "sleep", "60")
	resp, err := http.Get(d.metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = resp.Body
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// A real Prometheus scrapes the node, and its answers satisfy conservation.
func TestPrometheusScrapes(t *testing.T) {
	root(t)
	prometheus := program(t, "prometheus")
	d := newDevice(t, "")
	inProcess(t, d)
	d.agent("scraped", "sha256sum", "/dev/zero")

	target, err := url.Parse(d.metrics)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(d.dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: cam\n  static_configs: [{targets: [%q]}]\n", target.Host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	server := exec.Command(prometheus, "--config.file", config, "--storage.tsdb.path", filepath.Join(d.dir, "tsdb"), "--web.listen-address", address)
	log := &lockedBuffer{}
	server.Stderr = log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })

	query := func(q string) (float64, bool) {
		resp, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(q))
		if err != nil {
			return 0, false
		}
		defer resp.Body.Close()
		var r struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if json.NewDecoder(resp.Body).Decode(&r) != nil || len(r.Data.Result) != 1 {
			return 0, false
		}
		var v float64
		_, err = fmt.Sscan(fmt.Sprint(r.Data.Result[0].Value[1]), &v)
		return v, err == nil
	}
	if !eventually(func() bool {
		v, ok := query(`rate(cam_agent_cpu_seconds_total{agent="scraped"}[10s])`)
		return ok && v > 0.1
	}) {
		t.Fatalf("Prometheus has no rate of the agent's CPU time\n%s\n%s", log, d.log)
	}
	for _, q := range []string{
		`cam_agent_energy_joules_total{agent="scraped",zone="package"} > 0`,
		`cam_node_energy_joules_total{zone="package"} > 0`,
		`cam_node_energy_residual_joules{zone="package"}`,
		`sum(cam_agent_energy_joules_total{zone="package"}) + cam_node_idle_energy_joules_total + ignoring(zone,source) cam_node_system_energy_joules_total`,
	} {
		if !eventually(func() bool { _, ok := query(q); return ok || strings.HasPrefix(q, "sum") }) {
			t.Errorf("Prometheus answers nothing to %s", q)
		}
	}
	if v, ok := query("cam_node_energy_residual_joules"); !ok || v != 0 {
		t.Errorf("residual %v (%v), want 0", v, ok)
	}
	if v, ok := query(`cam_node_energy_joules_total - cam_node_agents_energy_joules_total - cam_node_idle_energy_joules_total - cam_node_system_energy_joules_total - cam_node_unattributed_energy_joules_total`); !ok || math.Abs(v) > 1e-6 {
		t.Errorf("in Prometheus the parts miss what was metered by %v J (%v)", v, ok)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// An unauthenticated scrape gets no finer figures than a second and a tenth of
// a joule; with TLS and a password it gets them whole.
func TestFineFiguresNeedAPassword(t *testing.T) {
	root(t)
	fine := func(series map[string]float64) (n int) {
		for name, v := range series {
			if strings.HasPrefix(name, "cam_") && strings.Contains(name, "_energy_joules_total") {
				if r := v * 10; math.Abs(r-math.Round(r)) > 1e-6 {
					n++
				}
			}
		}
		return n
	}
	open := newDevice(t, "")
	inProcess(t, open)
	open.agent("a", "sha256sum", "/dev/zero")
	first := open.series()
	if n := fine(first); n > 0 {
		t.Errorf("%d energy figures are finer than 0.1 J: %v", n, first)
	}
	// At an interval of 200 ms figures still move no more than once a second.
	moves, last := 0, first["cam_observation_time_seconds"]
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		if at := open.series()["cam_observation_time_seconds"]; at != last {
			if at-last < 0.9 {
				t.Errorf("figures moved after %v s", at-last)
			}
			moves, last = moves+1, at
		}
	}
	if moves == 0 || moves > 3 {
		t.Errorf("figures moved %d times in about 2 s", moves)
	}

	dir := t.TempDir()
	pool := certificate(t, dir)
	web := filepath.Join(dir, "web.yml")
	// bcrypt of "factory", cost 4.
	text := "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {line: " + bcryptOfFactory + "}\n"
	if err := os.WriteFile(web, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := newDevice(t, "", "--web.config.file", web)
	inProcess(t, closed)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	address := strings.Replace(closed.metrics, "http://", "https://", 1)
	get := func(password string) *http.Response {
		req, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			req.SetBasicAuth("line", password)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for password, want := range map[string]int{"": 401, "wrong": 401, "factory": 200} {
		resp := get(password)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("with password %q: %s, want %d", password, resp.Status, want)
		}
	}
	if !eventually(func() bool {
		resp := get("factory")
		defer resp.Body.Close()
		return fine(parseSeries(t, resp.Body)) > 0
	}) {
		t.Error("with a password the figures are still coarse")
	}
}

// certificate writes a self-signed one for 127.0.0.1.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	return pool
}

const bcryptOfFactory = `$2a$04$BYzleVXGOGhISYKezUYTHu015XBwC0oqlf970p4yIs/xbCYU9i1xS`
