package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/packaging/lab/wire"
)

// far is a guest's end of the channel.
func far(t *testing.T, g *Guest) (net.Conn, *bufio.Reader) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "ctl")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if g.channel, err = dial(socket, nil); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); g.channel.conn.Close() })
	return conn, bufio.NewReader(conn)
}

func ask(g *Guest, script string) <-chan string {
	out := make(chan string, 1)
	go func() {
		r, err := g.Run(context.Background(), script, nil, time.Minute)
		if err != nil {
			out <- "error: " + err.Error()
			return
		}
		out <- string(r.Stdout)
	}()
	return out
}

// Answers find their questions in any order, among lines that are no answers.
func TestAnswersInAnyOrder(t *testing.T) {
	g := &Guest{exited: make(chan struct{})}
	conn, lines := far(t, g)
	first, second := ask(g, "1"), ask(g, "2")
	var requests []wire.Request
	for range 2 {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var r wire.Request
		if err := json.Unmarshal(line, &r); err != nil || r.Seconds != 60 {
			t.Fatalf("%s: %v", line, err)
		}
		requests = append([]wire.Request{r}, requests...)
	}
	write := func(line string) {
		if _, err := conn.Write([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	write("half of a line that an earlier guest")
	write(`{"id":999}`)
	for _, r := range requests {
		line, err := json.Marshal(wire.Reply{ID: r.ID, Stdout: []byte("answer to " + r.Script)})
		if err != nil {
			t.Fatal(err)
		}
		write(string(line))
	}
	if a, b := <-first, <-second; a != "answer to 1" || b != "answer to 2" {
		t.Errorf("answers are %q and %q", a, b)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Run("the caller gives up", func(t *testing.T) {
		g := &Guest{exited: make(chan struct{})}
		far(t, g)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Run(ctx, "true", nil, time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("the machine goes off", func(t *testing.T) {
		g := &Guest{exited: make(chan struct{})}
		conn, lines := far(t, g)
		answer := ask(g, "true")
		if _, err := lines.ReadBytes('\n'); err != nil {
			t.Fatal(err)
		}
		g.err = errors.New("QEMU's words")
		conn.Close()
		close(g.exited)
		if got := <-answer; !strings.Contains(got, "went off") || !strings.Contains(got, "QEMU's words") {
			t.Errorf("answer is %q", got)
		}
	})
	t.Run("the machine did not start", func(t *testing.T) {
		exited := make(chan struct{})
		close(exited)
		if _, err := dial(filepath.Join(t.TempDir(), "nothing"), exited); err == nil {
			t.Error("there is a channel")
		}
	})
}
