package node

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAFaultThatLastsIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	c := complaints{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
	lines := func() int { return strings.Count(out.String(), "\n") }
	for range 600 {
		c.about("store", errors.New("disk full"))
		now = now.Add(time.Second)
	}
	if lines() != 1 {
		t.Fatalf("ten minutes of one fault are %d lines:\n%s", lines(), &out)
	}
	// A text that changes each time does not get around it.
	for i := range 120 {
		c.about("store", fmt.Errorf("%d bytes are missing", i))
		now = now.Add(time.Second)
	}
	if lines() > 4 {
		t.Errorf("two minutes of changing text are %d lines", lines()-1)
	}
	before := lines()
	now = now.Add(2 * sayAgain)
	c.about("store", errors.New("disk full"))
	c.about("store", nil)
	c.about("store", nil)
	if got := lines() - before; got != 2 || !strings.Contains(out.String(), "store works again") {
		t.Errorf("want a reminder and an end, got %d lines:\n%s", got, &out)
	}
}
