package metrics

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/cam-os/edge/node/observe"
)

// pageAge is how old a page may be; figures of the process and the Go runtime
// are no part of an observation.
const pageAge = time.Second

// pages answers scrapes with what was rendered for the latest observation: work
// is done once for each format that is asked for, however many scrape, so that
// nobody can use up the room of others, or the processor.
type pages struct {
	latest func() *observe.Observation
	render http.Handler

	mu   sync.Mutex
	of   *observe.Observation
	made time.Time
	kept map[pageKey]*page
}

type pageKey struct {
	format expfmt.Format
	gzip   bool
}

// ServeHTTP knows no query: everybody gets all metrics.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Negotiated, not as sent: a client must not be able to invent keys.
	pg := p.page(r.Context(), pageKey{expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...), takesGzip(r.Header)})
	maps.Copy(w.Header(), pg.header)
	w.WriteHeader(pg.status)
	_, _ = w.Write(pg.body.Bytes())
}

func (p *pages) page(ctx context.Context, key pageKey) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.latest(); o != p.of || p.kept == nil || time.Since(p.made) >= pageAge {
		p.of, p.made, p.kept = o, time.Now(), make(map[pageKey]*page)
	}
	if pg := p.kept[key]; pg != nil {
		return pg
	}
	// Others get it too, so that it does not end with this one's connection.
	r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "/metrics", nil)
	if err != nil {
		panic(err) // of a constant
	}
	r.Header.Set("Accept", string(key.format))
	r.Header.Set("Accept-Encoding", "identity")
	if key.gzip {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	pg := &page{header: make(http.Header), status: http.StatusOK}
	p.render.ServeHTTP(pg, r)
	if pg.status == http.StatusOK {
		p.kept[key] = pg
	}
	return pg
}

func takesGzip(h http.Header) bool {
	for e := range strings.SplitSeq(h.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.ReplaceAll(e, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(q, "0.") != "q="
		}
	}
	return false
}

// page is a rendered response.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *page) Header() http.Header         { return p.header }
func (p *page) WriteHeader(status int)      { p.status = status }
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }
