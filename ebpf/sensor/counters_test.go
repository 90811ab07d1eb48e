package sensor

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// clocks count nanoseconds, as a performance counter counts cycles. They stand
// in for one where there is none.
var clocks = [2]counter{
	{unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK},
	{unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK},
}

func sum(v []uint64) (n uint64) {
	for _, x := range v {
		n += x
	}
	return n
}

// A counter of nanoseconds agrees with the time on the CPU.
func TestCountersAgreeWithTime(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{events: &clocks})
	if !s.Measures().Cycles {
		t.Fatal(s.Missing())
	}
	agrees(t, 30, func() (time.Duration, time.Duration) {
		l := newLeaf(t, h, "")
		start(t, l.dir, "burn:200ms").end()
		got := look(t, s).Cgroups[l.id]
		if c, i := sum(got.Cycles), sum(got.Instructions); c < i*9/10 || i < c*9/10 {
			t.Errorf("two counters of the same: %d and %d", c, i)
		}
		return time.Duration(sum(got.Cycles)), got.cpu()
	})
}

// What runs at a look, or is moved, has its cycles split like its time.
func TestCountersOfWhatIsMoved(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{events: &clocks})
	agrees(t, 10, func() (time.Duration, time.Duration) {
		from, to := newLeaf(t, h, ""), newLeaf(t, h, "")
		a := start(t, from.dir, "wait", "burn:10s").ready().goOn()
		for cpuOf(t, a) < 100*time.Millisecond {
			time.Sleep(5 * time.Millisecond)
		}
		if err := h.Move(to.path, a.cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		a.kill()
		got := look(t, s).Cgroups[from.id]
		return time.Duration(sum(got.Cycles)), got.cpu()
	})
}

func TestNoCounters(t *testing.T) {
	s := kernelSensor(t, Config{})
	if err := try(hardware, 1); err == nil {
		if !s.Measures().Cycles {
			t.Errorf("there is a counter, and it is not used: %q", s.Missing())
		}
		return
	}
	if s.Measures().Cycles {
		t.Error("cycles where there is no counter")
	}
	mentions(t, s.Missing(), "no performance counter", "virtual PMU")
	if u := look(t, s).Cgroups[1]; u.Cycles != nil || u.Instructions != nil {
		t.Errorf("%+v", u)
	}
}

// Where there are real counters, what runs has cycles and instructions.
func TestHardwareCounters(t *testing.T) {
	if err := try(hardware, 1); err != nil {
		t.Skip(err)
	}
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	l := newLeaf(t, h, "")
	start(t, l.dir, "burn:200ms").end()
	got := look(t, s).Cgroups[l.id]
	t.Logf("in %v: %d cycles, %d instructions", got.cpu(), sum(got.Cycles), sum(got.Instructions))
	// No CPU is slower than 10 MHz, and none faster than 10 GHz.
	if c := sum(got.Cycles); c < uint64(got.cpu())/100 || c > uint64(got.cpu())*10 || sum(got.Instructions) == 0 {
		t.Errorf("in %v: %d cycles, %d instructions", got.cpu(), c, sum(got.Instructions))
	}
}

// A counter stands still when its CPU comes back, so that a new one is needed.
func TestCountersSurviveHotplug(t *testing.T) {
	if os.Getenv("CAM_LAB_GUEST") == "" {
		t.Skip("takes a CPU away: only in a guest of packaging/lab/kernels")
	}
	h := hierarchy(t)
	s := kernelSensor(t, Config{events: &clocks})
	const online = "/sys/devices/system/cpu/cpu1/online"
	defer func() { _ = os.WriteFile(online, []byte("1"), 0) }()
	prev := look(t, s)
	for _, looks := range []int{1, 0} { // seen to be away, and not
		for _, v := range []string{"0", "1"} {
			if err := os.WriteFile(online, []byte(v), 0); err != nil {
				t.Fatal(err)
			}
			for range looks {
				sn := look(t, s)
				noneWentBack(t, prev, sn)
				prev = sn
			}
		}
		look(t, s) // finds the new one
		look(t, s)
		l := newLeaf(t, h, "")
		for _, a := range pinned(t, l, 1, 1, "burn:100ms") {
			a.goOn().ready().goOn().end()
		}
		got := look(t, s).Cgroups[l.id]
		if c := time.Duration(sum(got.Cycles)); c < got.cpu()/2 || c > got.cpu()*2 {
			t.Errorf("looked %d times while it was away: counted %v of %v", looks, c, got.cpu())
		}
	}
}
