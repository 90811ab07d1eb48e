//go:build lab

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p := exec.CommandContext(ctx, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	p.Stderr = log
	if err := p.Start(); err != nil {
		return "", err
	}
	defer func() { cancel(); _ = p.Wait() }()
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	for ctx.Err() == nil {
		time.Sleep(200 * time.Millisecond)
		said, err := os.ReadFile(log.Name())
		if err != nil {
			return "", err
		}
		m := listening.FindSubmatch(said)
		if m == nil {
			continue
		}
		resp, err := http.Get("http://" + string(m[1]) + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return "", err
		}
		var answer struct {
			Data struct{ Result []json.RawMessage }
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return "", err
		}
		if len(answer.Data.Result) > 0 {
			var lines []string
			for _, r := range answer.Data.Result {
				lines = append(lines, string(r))
			}
			return strings.Join(lines, "\n"), nil
		}
	}
	return "", fmt.Errorf("prometheus found nothing for %s within a minute", query)
}
