package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// The test binary is also a caller: a real process with ids and a cgroup of its
// own that calls what it is told and prints what it got.
const callerEnv = "CAM_API_TEST_CALLER"

type order struct {
	Socket   string
	UID, GID int
	Groups   []int
	Calls    []string
}

type answer struct {
	Code    codes.Code
	Message string
	Body    string
}

func TestMain(m *testing.M) {
	if o := os.Getenv(callerEnv); o != "" {
		if err := callAll(o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func callAll(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	if o.UID != 0 {
		if err := errors.Join(syscall.Setgroups(o.Groups), syscall.Setgid(o.GID), syscall.Setuid(o.UID)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	connect := func() (*grpc.ClientConn, error) {
		return grpc.NewClient("unix:"+o.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	cc, err := connect()
	if err != nil {
		return err
	}
	for _, c := range o.Calls {
		if c == "reconnect" {
			_ = cc.Close()
			if cc, err = connect(); err != nil {
				return err
			}
			continue
		}
		body, err := call(ctx, cc, c)
		s := status.Convert(err)
		line, err := json.Marshal(answer{s.Code(), s.Message(), body})
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

func call(ctx context.Context, cc *grpc.ClientConn, name string) (string, error) {
	node, operator := camv1.NewNodeServiceClient(cc), camv1.NewOperatorServiceClient(cc)
	switch name {
	case "observe":
		r, err := node.Observe(ctx, &camv1.ObserveRequest{})
		return protojson.Format(r.GetObservation()), err
	case "breakdown":
		r, err := node.Observe(ctx, &camv1.ObserveRequest{Breakdown: true})
		return protojson.Format(r.GetObservation()), err
	case "stream":
		st, err := node.ObserveStream(ctx, &camv1.ObserveStreamRequest{})
		if err != nil {
			return "", err
		}
		r, err := st.Recv()
		return protojson.Format(r.GetObservation()), err
	case "series":
		_, err := operator.Series(ctx, &camv1.SeriesRequest{})
		return "", err
	case "status":
		_, err := operator.Status(ctx, &camv1.StatusRequest{})
		return "", err
	case "start":
		r, err := operator.StartAgent(ctx, &camv1.StartAgentRequest{Name: "new"})
		return r.GetCgroup(), err
	case "health":
		r, err := healthv1.NewHealthClient(cc).Check(ctx, &healthv1.HealthCheckRequest{Service: "cam.v1.NodeService"})
		return r.GetStatus().String(), err
	case "reflection":
		st, err := reflectionv1.NewServerReflectionClient(cc).ServerReflectionInfo(ctx)
		if err != nil {
			return "", err
		}
		_ = st.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
		r, err := st.Recv()
		return protojson.Format(r), err
	}
	return "", errors.New("no such call " + name)
}

// ask runs a caller, in a cgroup's directory where that is not empty.
func ask(t *testing.T, cgroup string, o order) []answer {
	t.Helper()
	text, err := json.Marshal(o)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), callerEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if cgroup != "" {
		d, err := os.Open(cgroup)
		must(t, err)
		defer d.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(d.Fd())
	}
	out, err := cmd.Output()
	must(t, err)
	var answers []answer
	for line := range strings.Lines(string(out)) {
		var a answer
		must(t, json.Unmarshal([]byte(line), &a))
		answers = append(answers, a)
	}
	return answers
}

var everything = []string{"observe", "breakdown", "stream", "series", "status", "health", "reflection"}

// TestCallers: who may do what, by real processes.
func TestCallers(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		dir, path := leaf(t, "a")
		cfg.Admins, cfg.Readers = testAdmins, testReaders
		b := &board{agents: map[string]string{path: "a"}, latest: look(3, boottime(), 1_234_567)}
		_, socket := serve(t, b, cfg)
		const ok, denied = codes.OK, codes.PermissionDenied
		agent := []codes.Code{ok, denied, ok, denied, denied, ok, ok, denied}
		reader := []codes.Code{ok, ok, ok, ok, ok, ok, ok, denied}
		for _, c := range []struct {
			name   string
			cgroup string
			order  order
			want   []codes.Code
			says   string // the last refusal
		}{
			{"root", "", order{}, []codes.Code{ok, ok, ok, ok, ok, ok, ok}, ""},
			{"root in an agent", dir, order{}, agent, "agent a may not"},
			{"a user in an agent", dir, order{UID: 4321, GID: 4321, Groups: []int{4321}}, agent, "agent a may not"},
			{"an administrator in an agent", dir, order{UID: 4321, GID: 4321, Groups: []int{4900}}, agent, "agent a may not"},
			{"cam", "", order{UID: 4321, GID: 4321, Groups: []int{1, 4901}}, reader, "usermod -aG cam-admin"},
			{"cam-admin", "", order{UID: 4321, GID: 4321, Groups: []int{4900}}, []codes.Code{ok, ok, ok, ok, ok, ok, ok}, ""},
			{"a stranger", "", order{UID: 4321, GID: 4321, Groups: []int{4321}},
				[]codes.Code{denied, denied, denied, denied, denied, denied, denied, denied}, "usermod -aG cam USER"},
		} {
			c.order.Socket, c.order.Calls = socket, everything
			if len(c.want) > len(everything) {
				c.order.Calls = append(c.order.Calls[:len(everything):len(everything)], "start")
			}
			got := ask(t, c.cgroup, c.order)
			if len(got) != len(c.want) {
				t.Fatalf("%s: %d answers", c.name, len(got))
			}
			for i, a := range got {
				if a.Code != c.want[i] {
					t.Errorf("%s: %s: %v %s, want %v", c.name, c.order.Calls[i], a.Code, a.Message, c.want[i])
				}
			}
			if last := got[len(got)-1]; !strings.Contains(last.Message, c.says) {
				t.Errorf("%s: %q, want %q", c.name, last.Message, c.says)
			}
			if c.want[0] != ok {
				continue
			}
			for _, i := range []int{0, 2} {
				fine := strings.Contains(got[i].Body, `"1234567"`)
				coarse := strings.Contains(got[i].Body, `"1200000"`) && strings.Contains(got[i].Body, "coarse")
				if fine == coarse || coarse != (c.cgroup != "") {
					t.Errorf("%s: %s: fine %v, coarse %v", c.name, c.order.Calls[i], fine, coarse)
				}
			}
			if !strings.Contains(got[6].Body, "cam.v1.OperatorService") || got[5].Body != "SERVING" {
				t.Errorf("%s: %v %v", c.name, got[5], got[6])
			}
		}
	})
}

// Who starts an agent is that agent afterwards.
func TestStartAgent(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		dir, path := leaf(t, "new")
		b := &board{agents: map[string]string{}, startDir: dir, startPath: path, latest: look(3, boottime(), 1_234_567)}
		s, socket := serve(t, b, cfg)
		got := ask(t, "", order{Socket: socket, Calls: []string{"status", "start", "status", "reconnect", "observe", "status", "start"}})
		want := []codes.Code{codes.OK, codes.OK, codes.Unauthenticated, codes.OK, codes.PermissionDenied, codes.PermissionDenied}
		for i, a := range got {
			if a.Code != want[i] {
				t.Errorf("call %d: %v %s, want %v", i, a.Code, a.Message, want[i])
			}
		}
		if got[1].Body != path || !strings.Contains(got[2].Message, "moved") || !strings.Contains(got[3].Body, `"1200000"`) || !strings.Contains(got[4].Message, "agent new") {
			t.Errorf("%v", got)
		}
		if r := s.Refused(); r["moved"] != 1 {
			t.Errorf("counted %v", r)
		}
		procs, err := os.ReadFile(dir + "/cgroup.procs")
		must(t, err)
		if strings.Contains(string(procs), strconv.Itoa(os.Getpid())) {
			t.Error("the node itself was moved")
		}
	})
}
