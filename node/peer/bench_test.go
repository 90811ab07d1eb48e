package peer

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkCheck is what identity costs at each call.
func BenchmarkCheck(b *testing.B) {
	creds, l, err := open(Config{}, filepath.Join(b.TempDir(), "node"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, err := dial(l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	raw, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	_, info, err := creds.ServerHandshake(raw)
	if err != nil {
		b.Fatal(err)
	}
	id := info.(*Identity)
	if id.Peer.PID != os.Getpid() {
		b.Fatal(id.Peer)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := id.Check(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
