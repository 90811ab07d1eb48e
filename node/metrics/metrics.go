// Package metrics shows the node to Prometheus.
//
// Names follow Prometheus and Kepler: base units (seconds, bytes, joules),
// _total for counters, a zone label for energy. An unauthenticated scrape gets
// figures no finer than one second and a tenth of a joule, since fine energy
// figures tell what other programs compute (PLATYPUS, Lipp et al. 2021); with
// basic authentication or client certificates in the web configuration the
// figures are whole.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
)

// Config of the metrics endpoint.
type Config struct {
	// Address to listen on; empty turns the endpoint off.
	Address string `yaml:"address"`
	// WebConfig is a file of Prometheus' exporter-toolkit: TLS and basic
	// authentication.
	WebConfig string `yaml:"web_config"`
}

// DefaultConfig listens on loopback only.
func DefaultConfig() Config { return Config{Address: "localhost:9465"} }

// Validate checks what can be checked without the machine.
func (c Config) Validate() error {
	if c.Address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("metrics.address %q: want host:port, such as localhost:9465: %w", c.Address, err)
	}
	return nil
}

// Authenticated says whether every scrape must prove who it is.
func (c Config) Authenticated() (bool, error) {
	if c.WebConfig == "" {
		return false, nil
	}
	if err := web.Validate(c.WebConfig); err != nil {
		return false, fmt.Errorf("%s: %w", c.WebConfig, err)
	}
	data, err := os.ReadFile(c.WebConfig)
	if err != nil {
		return false, err
	}
	var w struct {
		TLS struct {
			ClientAuth string `yaml:"client_auth_type"`
		} `yaml:"tls_server_config"`
		Users map[string]string `yaml:"basic_auth_users"`
	}
	if err := yaml.Unmarshal(data, &w); err != nil {
		return false, fmt.Errorf("%s: %w", c.WebConfig, err)
	}
	return len(w.Users) > 0 || w.TLS.ClientAuth == "RequireAndVerifyClientCert", nil
}

// Server serves /metrics.
type Server struct {
	cfg      Config
	listener net.Listener
	http     *http.Server
	log      *slog.Logger
}

// Listen opens the endpoint; Serve answers on it.
func Listen(cfg Config, c *Collector, version string, log *slog.Logger) (*Server, error) {
	reg := prometheus.NewRegistry() // the pedantic one checks each sample at each scrape; the tests use it
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cam_build_info", Help: "Version of the node.",
		ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	for _, r := range []prometheus.Collector{c, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := reg.Register(r); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	l, err := net.Listen("tcp", loopback(cfg.Address))
	if err != nil {
		return nil, fmt.Errorf("cannot serve metrics: %w; choose another address with --metrics-address, or none with --metrics-address=", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", &pages{latest: c.latest, render: promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Timeout: 10 * time.Second, EnableOpenMetrics: true,
	})})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!doctype html><title>cam-node</title><p>CAM-OS Edge node. <a href=\"/metrics\">Metrics</a></p>\n"))
	})
	few := bound(l, maxConns)
	return &Server{cfg: cfg, listener: few, log: log, http: &http.Server{
		Handler: mux, ConnState: few.state,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}}, nil
}

// loopback takes localhost to be what it always is (RFC 6761, section 6.3): a
// device without /etc/hosts would ask a resolver, which it may not reach.
func loopback(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// Address that is really listened on, with the port when 0 was asked for.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Serve answers until Shutdown.
func (s *Server) Serve() error {
	err := web.Serve(s.listener, s.http, &web.FlagConfig{WebConfigFile: &s.cfg.WebConfig}, s.log)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown ends Serve, letting scrapes that run finish.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }
