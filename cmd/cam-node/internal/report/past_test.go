package report

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

func TestPast(t *testing.T) {
	point := func(second int64, covered uint64) *camv1.SeriesPoint {
		energy := func(uj uint64) []*camv1.ZoneEnergy {
			return []*camv1.ZoneEnergy{{Zone: "package", Microjoules: uj, Source: "rapl"}, {Zone: "package", Socket: 1, Microjoules: uj, Source: "rapl"}}
		}
		return &camv1.SeriesPoint{Start: timestamppb.New(time.Unix(second, 0)), CoveredNanoseconds: covered, Values: []*camv1.SeriesValue{
			{Account: "a", Usage: &camv1.Usage{CpuNanoseconds: 5e8, Energy: energy(1e6)}},
			{Account: "system", Usage: &camv1.Usage{Energy: energy(2e6)}},
		}}
	}
	got := Past([]*camv1.SeriesPoint{point(1, 1e9), point(4, 5e8), point(5, 0), point(900, 1e9)}, time.Second, FromMeasured(nil), 10)
	if len(got) != 4+2+10 {
		t.Fatalf("%d steps", len(got))
	}
	for _, i := range []int{1, 2, 4, 5} {
		if len(got[i].Accounts) != 0 {
			t.Errorf("step %d: %+v", i, got[i])
		}
	}
	if r := Rows(got[3], "package"); r[0].Microwatts != 4e6 || r[0].Cores != 1 || r[1].Kind != System || Meter(got[3].Zones, "package").Microwatts != 12e6 {
		t.Errorf("%+v", got[3])
	}
}
