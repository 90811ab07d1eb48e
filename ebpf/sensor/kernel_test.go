package sensor

import (
	"testing"
	"time"
)

func TestLook(t *testing.T) {
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := 0; i < 3; i++ {
		time.Sleep(100 * time.Millisecond)
		t0 := time.Now()
		sn, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(t0))
		t.Logf("%+v", sn)
	}
}
