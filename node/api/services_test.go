package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cam-os/edge/energy"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

func TestObserve(t *testing.T) {
	b := &board{}
	_, socket := serve(t, b, Config{})
	node := camv1.NewNodeServiceClient(client(t, socket))
	_, err := node.Observe(t.Context(), &camv1.ObserveRequest{})
	wantCode(t, err, codes.Unavailable, "try again")
	b.publish(look(3, boottime(), 1_234_567))
	r, err := node.Observe(t.Context(), &camv1.ObserveRequest{Accounts: []string{"a", "system", "a"}, Breakdown: true})
	must(t, err)
	o := r.GetObservation()
	if len(o.GetAccounts()) != 2 || o.GetCoarse() || len(o.GetBreakdown()) != 1 || o.GetSensor().GetQuality() != measured {
		t.Errorf("%v", o)
	}
	if a := o.GetAccounts()[0]; a.GetName() != "a" || a.GetCgroup() != "/cam.slice/a" || a.GetState() != camv1.AgentState_AGENT_STATE_RUNNING ||
		a.GetTotal().GetEnergy()[0].GetMicrojoules() != 1_234_567 || a.GetTotal().GetCpuNanoseconds() != 3 || a.GetTotal().GetIoWrittenBytes() != 6 {
		t.Errorf("%v", a)
	}
	if z := o.GetZones()[0]; z.GetMeteredMicrojoules() != 5*1_234_567 || z.GetResidualMicrojoules() != 0 || z.GetMicrowatts() != 12_345_678 || z.GetProvenance().GetQuality() != measured {
		t.Errorf("%v", z)
	}
	if m := r.GetObservation().GetMeasured(); !m.GetAgents() || !m.GetIo() || m.GetContextSwitches() {
		t.Errorf("%v", m)
	}
	_, err = node.Observe(t.Context(), &camv1.ObserveRequest{Accounts: []string{"a", "nobody"}})
	wantCode(t, err, codes.NotFound, `"nobody"`)
	// Figures that nobody has renewed say so.
	b.publish(look(4, boottime()-time.Minute, 1_234_567))
	r, err = node.Observe(t.Context(), &camv1.ObserveRequest{})
	must(t, err)
	if p := r.GetObservation().GetSensor(); p.GetQuality() != stale || p.GetAgeNanoseconds() < uint64(time.Minute) {
		t.Errorf("%v", p)
	}
	// More than a client takes.
	big := look(5, boottime(), 1)
	for range 5 {
		big.Breakdown = append(big.Breakdown, observe.CgroupUsage{Cgroup: "/" + strings.Repeat("x", 1<<20)})
	}
	b.publish(big)
	_, err = node.Observe(t.Context(), &camv1.ObserveRequest{Breakdown: true})
	wantCode(t, err, codes.ResourceExhausted, "leave the breakdown out")
	st, err := node.ObserveStream(t.Context(), &camv1.ObserveStreamRequest{Breakdown: true})
	must(t, err)
	_, err = st.Recv()
	wantCode(t, err, codes.ResourceExhausted, "leave the breakdown out")
}

func TestBadRequests(t *testing.T) {
	b := &board{latest: look(3, boottime(), 1)}
	_, socket := serve(t, b, Config{})
	cc := client(t, socket)
	node, operator := camv1.NewNodeServiceClient(cc), camv1.NewOperatorServiceClient(cc)
	many := make([]string, maxAccounts+1)
	for i := range many {
		many[i] = "a"
	}
	for _, name := range []string{"", "A", "a b", "../x", "-a", ".", "a/b", "a\n", strings.Repeat("a", 64), "ä"} {
		_, err := node.Observe(t.Context(), &camv1.ObserveRequest{Accounts: []string{"a", name}})
		wantCode(t, err, codes.InvalidArgument, "starting with a letter or digit")
		_, err = operator.StartAgent(t.Context(), &camv1.StartAgentRequest{Name: name})
		wantCode(t, err, codes.InvalidArgument, "starting with a letter or digit")
	}
	_, err := node.Observe(t.Context(), &camv1.ObserveRequest{Accounts: many})
	wantCode(t, err, codes.InvalidArgument, "1001 accounts")
	_, err = node.Observe(t.Context(), &camv1.ObserveRequest{Accounts: []string{strings.Repeat("a", maxRequest)}})
	wantCode(t, err, codes.ResourceExhausted, "larger than max")

	for _, c := range []struct {
		since, step *durationpb.Duration
		says        string
	}{
		{durationpb.New(-1), nil, "since is -1ns; it cannot be negative"},
		{durationpb.New(maxSince + 1), nil, "since is 9600h0m0.000000001s; at most 9600h0m0s"},
		{&durationpb.Duration{Seconds: 1 << 60}, nil, "since is no valid duration"},
		{&durationpb.Duration{Seconds: 1, Nanos: -1}, nil, "since is no valid duration"},
		{nil, durationpb.New(-time.Second), "step is -1s; it cannot be negative"},
		{nil, durationpb.New(time.Millisecond), "step is 1ms; at least 1s"},
		{durationpb.New(24 * time.Hour), durationpb.New(time.Second), "86400 points; at most 10000: take a longer step"},
	} {
		_, err := operator.Series(t.Context(), &camv1.SeriesRequest{Since: c.since, Step: c.step})
		wantCode(t, err, codes.InvalidArgument, c.says)
	}
	_, err = operator.Series(t.Context(), &camv1.SeriesRequest{Accounts: []string{"A"}})
	wantCode(t, err, codes.InvalidArgument, `"A"`)
	for _, d := range []*durationpb.Duration{durationpb.New(-1), durationpb.New(25 * time.Hour)} {
		st, err := node.ObserveStream(t.Context(), &camv1.ObserveStreamRequest{Interval: d})
		must(t, err)
		_, err = st.Recv()
		wantCode(t, err, codes.InvalidArgument, "interval is")
	}
	if len(b.asked) != 0 {
		t.Error("the node was asked")
	}
}

func TestErrors(t *testing.T) {
	b := &board{latest: look(3, boottime(), 1)}
	s, socket := serve(t, b, Config{})
	operator := camv1.NewOperatorServiceClient(client(t, socket))
	for err, want := range map[error]codes.Code{
		fmt.Errorf("%w: x", ErrInvalidName):  codes.InvalidArgument,
		fmt.Errorf("%w: x", ErrNameTaken):    codes.AlreadyExists,
		fmt.Errorf("%w: x", ErrTooMany):      codes.ResourceExhausted,
		fmt.Errorf("%w: x", ErrUnsupported):  codes.FailedPrecondition,
		fmt.Errorf("%w: x", ErrUnavailable):  codes.Unavailable,
		context.DeadlineExceeded:             codes.DeadlineExceeded,
		context.Canceled:                     codes.Canceled,
		&fs.PathError{Op: "open", Path: "p"}: codes.Internal,
	} {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			pe.Err = fs.ErrPermission
		}
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
		_, got := operator.StartAgent(t.Context(), &camv1.StartAgentRequest{Name: "a"})
		wantCode(t, got, want, err.Error())
		_, got = operator.Series(t.Context(), &camv1.SeriesRequest{})
		wantCode(t, got, want, err.Error())
	}
	// Only administrators see what may hold a path.
	wantCode(t, s.fail(context.Background(), "Series", errors.New("open /secret")), codes.Internal, "Series failed; the node's log says why")
	// Without a guard, a caller is a stranger.
	_, err := permit(context.Background(), nil, false)
	wantCode(t, err, codes.PermissionDenied, "")
}

func TestSeries(t *testing.T) {
	b := &board{series: SeriesResult{Resolution: time.Minute, Points: []SeriesPoint{{
		Start: time.Unix(60, 0), Covered: 59 * time.Second,
		Usage: map[string]ledger.Usage{"b": {CPU: 1}, "a": {Energy: map[energy.Zone]energy.Microjoules{
			{Name: "psys", Socket: energy.AllSockets, Source: energy.Model}: 2, pkg: 1,
		}}},
	}}}}
	_, socket := serve(t, b, Config{})
	operator := camv1.NewOperatorServiceClient(client(t, socket))
	r, err := operator.Series(t.Context(), &camv1.SeriesRequest{})
	must(t, err)
	p := r.GetPoints()[0]
	if r.GetResolution().AsDuration() != time.Minute || p.GetCoveredNanoseconds() != 59e9 || p.GetStart().AsTime().Unix() != 60 ||
		p.GetValues()[0].GetAccount() != "a" || p.GetValues()[1].GetUsage().GetCpuNanoseconds() != 1 {
		t.Errorf("%v", r)
	}
	if e := p.GetValues()[0].GetUsage().GetEnergy(); e[0].GetSocket() != -1 || e[0].GetSource() != "model" || e[1].GetMicrojoules() != 1 {
		t.Errorf("%v", e)
	}
	_, err = operator.Series(t.Context(), &camv1.SeriesRequest{Since: durationpb.New(time.Minute), Step: durationpb.New(time.Second), Accounts: []string{"a"}})
	must(t, err)
	if q := b.asked; q[0].Since != time.Hour || q[0].Step != 0 || q[1].Since != time.Minute || q[1].Step != time.Second || q[1].Accounts[0] != "a" {
		t.Errorf("%+v", q)
	}
	b.series.Points[0].Usage[strings.Repeat("x", maxResponse)] = ledger.Usage{}
	_, err = operator.Series(t.Context(), &camv1.SeriesRequest{})
	wantCode(t, err, codes.ResourceExhausted, "take a longer step")
	st, err := operator.Status(t.Context(), &camv1.StatusRequest{})
	must(t, err)
	if f := st.GetFindings(); st.GetVersion() != "v1" || f[0].GetLevel() != camv1.FindingLevel_FINDING_LEVEL_OK ||
		f[1].GetLevel() != camv1.FindingLevel_FINDING_LEVEL_DEGRADED || f[2].GetLevel() != camv1.FindingLevel_FINDING_LEVEL_FAILED || f[2].GetDetail() != "full" {
		t.Errorf("%v", st)
	}
}

func TestProvenance(t *testing.T) {
	for want, r := range map[string]energy.Reading{
		measured:  {Zone: energy.Zone{Source: energy.RAPL}},
		estimated: {Zone: energy.Zone{Source: energy.Model}},
		simulated: {Zone: energy.Zone{Source: energy.Simulated}},
		stale:     {Zone: energy.Zone{Source: energy.RAPL}, State: energy.Lost, Age: 5},
	} {
		r.Error, r.Note, r.Wraps = 0.5, "note", 3
		z := zone(ledger.ZoneAccount{Reading: r})
		if p := z.GetProvenance(); p.GetQuality() != want || p.GetRelativeError() != 0.5 || p.GetNote() != "note" || z.GetWraps() != 3 || p.GetAgeNanoseconds() != uint64(r.Age) {
			t.Errorf("%s: %v", want, z)
		}
	}
	if p := (view{}).sensor(&observe.Observation{Sensor: "procfs", SensorNote: "ticks"}); p.GetQuality() != estimated || p.GetNote() != "ticks" {
		t.Errorf("%v", p)
	}
	for state, want := range map[observe.State]camv1.AgentState{
		observe.Running: camv1.AgentState_AGENT_STATE_RUNNING,
		observe.Empty:   camv1.AgentState_AGENT_STATE_EMPTY,
		observe.Ended:   camv1.AgentState_AGENT_STATE_ENDED,
	} {
		if a := account(ledger.Account{Name: "x"}, map[string]observe.Agent{"x": {State: state}}); a.GetState() != want {
			t.Errorf("%v", a)
		}
	}
	if n := nanoseconds(-1); n != 0 {
		t.Errorf("%d", n)
	}
}
