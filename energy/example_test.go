package energy_test

import (
	"fmt"
	"log"
	"time"

	"github.com/cam-os/edge/energy"
)

// A package drew 50 J in a second, 20 of them at idle. Two agents ran for 300
// and 100 ms of it; 100 ms cannot be given a name.
func ExampleDivide() {
	idle := energy.Microwatts(20_000_000)
	parts := energy.Divide(50_000_000, idle.Over(time.Second), []uint64{300e6, 100e6}, 100e6)
	fmt.Println(parts.Idle, parts.Shares, parts.Unattributed)
	// Output: 20000000 [18000000 6000000] 6000000
}

// There is always a meter, if only a model.
func ExampleOpen() {
	meter, missing, err := energy.Open(energy.Config{Sysfs: "testdata/none", Procfs: "testdata/none", IdleWatts: 2, MaxWatts: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer meter.Close()
	a := energy.Activity{CPUs: []int{4}, Packages: []int{0}, Busy: []time.Duration{0}}
	meter.Read(a)
	a.At, a.Busy = time.Second, []time.Duration{2 * time.Second} // two of four CPUs
	for _, r := range meter.Read(a) {
		fmt.Println(r.Zone.Name, r.Zone.Socket, r.Zone.Source, r.Total.Joules(), "J")
	}
	fmt.Println(len(missing), "thing missing")
	// Output:
	// package 0 model 6 J
	// 1 thing missing
}
