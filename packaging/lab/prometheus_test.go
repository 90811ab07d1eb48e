//go:build lab

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// scrape runs a real Prometheus against a target until a query gives
// something, and returns that as JSON.
func scrape(target, query, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	config := filepath.Join(dir, "prometheus.yml")
	yaml := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- {job_name: device, static_configs: [{targets: [%q]}]}\n", target)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		return "", err
	}
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := exec.CommandContext(ctx, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	var log bytes.Buffer
	p.Stderr = &log
	if err := p.Start(); err != nil {
		return "", err
	}
	var lines []string
	for len(lines) == 0 && ctx.Err() == nil {
		time.Sleep(200 * time.Millisecond)
		lines = ask(address, query)
	}
	cancel()
	_ = p.Wait()
	if len(lines) == 0 {
		return "", fmt.Errorf("prometheus found nothing for %s within %v:\n%s", query, patience, &log)
	}
	return strings.Join(lines, "\n"), nil
}

// ask returns what Prometheus answers, nothing while it is not ready.
func ask(address, query string) (lines []string) {
	resp, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return nil
	}
	for _, r := range answer.Data.Result {
		lines = append(lines, string(r))
	}
	return lines
}

// freeAddress was free a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
