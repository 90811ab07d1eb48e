package sensor

import "github.com/cilium/ebpf/rlimit"

// Ready makes sure that this process may load eBPF programs on this kernel; if
// not, the error is an *UnsupportedError. For the sensors beside this one.
func Ready() error {
	if err := supported(); err != nil {
		return err
	}
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; on others this is a
	// probe and no more.
	if err := rlimit.RemoveMemlock(); err != nil {
		return &UnsupportedError{What: "room for locked memory", Remedy: "raise it: LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited", Err: err}
	}
	return nil
}

// Explain turns what the kernel said while it loaded or attached a program into
// what is missing: an *UnsupportedError where that can be told.
func Explain(err error) error { return explain(err) }
