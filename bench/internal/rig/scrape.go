package rig

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// Scrape asks for metrics as Prometheus does (compressed, over a connection
// that is kept), and returns how long it took and the text.
func Scrape(ctx context.Context, url string) (time.Duration, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	req.Header.Set("Accept-Encoding", "gzip")
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	took := time.Since(start)
	if err != nil {
		return 0, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		if body, err = io.ReadAll(z); err != nil {
			return 0, nil, err
		}
	}
	return took, body, nil
}

// Samples counts the samples of a scrape.
func Samples(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) > 0 && line[0] != '#' {
			n++
		}
	}
	return n
}

// Residual holds nodes to conservation, and counts how often. Its zero value
// is ready; it may be used concurrently.
type Residual struct {
	mu sync.Mutex
	// Observations and Scrapes that were looked at, and zones in all of them.
	observations, scrapes, zones int
	worst                        float64 // µJ, of either sign
}

// Observation computes the residual of each zone anew, twice: from the zone's
// own parts, and from the totals of all accounts.
func (r *Residual) Observation(o *camv1.Observation) {
	type zone struct {
		name, source string
		socket       int32
	}
	accounts := map[zone]int64{}
	for _, a := range o.GetAccounts() {
		for _, e := range a.GetTotal().GetEnergy() {
			accounts[zone{e.GetZone(), e.GetSource(), e.GetSocket()}] += int64(e.GetMicrojoules()) // #nosec G115 -- 292,000 years at 1 W
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observations++
	for _, z := range o.GetZones() {
		metered := int64(z.GetMeteredMicrojoules())                                                                                   // #nosec G115 -- as above
		parts := int64(z.GetAgentsMicrojoules() + z.GetSystemMicrojoules() + z.GetIdleMicrojoules() + z.GetUnattributedMicrojoules()) // #nosec G115
		r.note(float64(z.GetResidualMicrojoules()), float64(metered-parts), float64(metered-accounts[zone{z.GetZone(), z.GetProvenance().GetSource(), z.GetSocket()}]))
	}
}

// Metrics looks at the residual of each zone that a scrape shows.
func (r *Residual) Metrics(text []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scrapes++
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("cam_node_energy_residual_joules{")); ok {
			value := bytes.TrimSpace(rest[bytes.LastIndexByte(rest, ' ')+1:])
			joules, err := strconv.ParseFloat(string(value), 64)
			if err != nil {
				return fmt.Errorf("residual %q: %w", value, err)
			}
			r.note(joules * 1e6)
		}
	}
	return nil
}

func (r *Residual) note(micro ...float64) {
	r.zones++
	for _, m := range micro {
		if max(m, -m) > max(r.worst, -r.worst) {
			r.worst = m
		}
	}
}

// Worst is the largest residual in µJ, and in how many zones of how many
// observations and scrapes it was looked for.
func (r *Residual) Worst() (micro float64, zones, observations, scrapes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.worst, r.zones, r.observations, r.scrapes
}
