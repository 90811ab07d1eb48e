//go:build lab

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cam-os/edge/packaging/lab/machine"
	"github.com/cam-os/edge/packaging/lab/report"
)

// suite and arch choose the device.
func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// device boots a Debian with the files at /lab.
func device(t *testing.T, files map[string]string) *machine.Device {
	t.Helper()
	img, err := machine.Build(env("CAM_LAB_SUITE", "bookworm"), env("CAM_LAB_ARCH", "amd64"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	d, err := machine.Boot(ctx, img, files, 9465, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console:\n%s", d.Console())
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if r, err := d.Run(ctx, "systemctl list-jobs; journalctl --no-pager -q -n 60", nil, time.Minute); err == nil {
				t.Logf("journal:\n%s", r.Stdout)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// packages are two versions of the product, for one architecture.
func packages(t *testing.T, arch string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for i, version := range []string{"0.1.0", "0.2.0"} {
		dir := t.TempDir()
		c := exec.Command("../build.sh", dir, arch)
		c.Env = append(os.Environ(), "VERSION="+version)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("packaging/build.sh: %v\n%s", err, out)
		}
		debs, err := filepath.Glob(dir + "/*.deb")
		if err != nil || len(debs) != 1 {
			t.Fatalf("want one .deb, found %v", debs)
		}
		files[fmt.Sprintf("cam-node-%d.deb", i+1)] = debs[0]
	}
	return files
}

func TestScenarios(t *testing.T) {
	d := device(t, packages(t, env("CAM_LAB_ARCH", "amd64")))
	params := testscript.Params{
		Dir:  "scenarios",
		Cmds: commands(d),
	}
	if only := os.Getenv("CAM_LAB_SCENARIOS"); only != "" {
		params.Dir, params.Files = "", strings.Fields(only)
	}
	r := &report.Report{Device: d.String(), Progress: os.Stderr}
	testscript.RunT(sequential{T: t, report: r}, params)
	for name, write := range map[string]func(string) error{"CAM_LAB_TAP": r.TAP, "CAM_LAB_JUNIT": r.JUnit} {
		if path := os.Getenv(name); path != "" {
			if err := write(path); err != nil {
				t.Error(err)
			}
		}
	}
}

// patience is how long a scenario waits for anything: a guard against standing
// still, and no measure of how long things take on an emulated device.
const patience = 4 * time.Minute

// commands are what a scenario can say beside testscript's own words:
//
//	on SCRIPT             run a bash script in the guest, as root
//	until SCRIPT          run it again and again until it succeeds
//	put FILE PATH         copy a file of the scenario into the guest
//	reboot                shut the device down and boot it again
//	prometheus QUERY      scrape the device with a Prometheus outside, and ask it
func commands(g *machine.Device) map[string]func(*testscript.TestScript, bool, []string) {
	ask := func(ts *testscript.TestScript, script string, stdin []byte) int {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		r, err := g.Run(ctx, script, stdin, patience)
		if err != nil {
			ts.Fatalf("%v\nconsole:\n%s", err, g.Console())
		}
		_, _ = ts.Stdout().Write(r.Stdout)
		_, _ = ts.Stderr().Write(r.Stderr)
		return r.Code
	}
	run := func(ts *testscript.TestScript, script string) int { return ask(ts, script, nil) }
	return map[string]func(*testscript.TestScript, bool, []string){
		"on": func(ts *testscript.TestScript, neg bool, args []string) {
			code := run(ts, strings.Join(args, " "))
			if (code != 0) != neg {
				ts.Fatalf("exit code %d", code)
			}
		},
		"until": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) == 0 {
				ts.Fatalf("usage: until SCRIPT")
			}
			loop := fmt.Sprintf("while ! out=$(bash -o pipefail -euc '%s' 2>&1); do echo \"$out\" >/run/until; sleep 0.2; done; echo \"$out\"",
				strings.ReplaceAll(strings.Join(args, " "), "'", `'\''`))
			if code := run(ts, loop); code != 0 {
				run(ts, "cat /run/until")
				ts.Fatalf("not within %v", patience)
			}
		},
		"prometheus": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 1 {
				ts.Fatalf("usage: prometheus QUERY")
			}
			out, err := scrape(g.Address, args[0], ts.MkAbs("prometheus"))
			ts.Check(err)
			fmt.Fprintln(ts.Stdout(), out)
		},
		"reboot": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 0 {
				ts.Fatalf("usage: reboot")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			ts.Check(g.Reboot(ctx, ts.Stdout()))
		},
		"put": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 2 {
				ts.Fatalf("usage: put FILE PATH")
			}
			if code := ask(ts, "mkdir -p \"$(dirname "+args[1]+")\"; cat >"+args[1], []byte(ts.ReadFile(args[0]))); code != 0 {
				ts.Fatalf("exit code %d", code)
			}
		},
	}
}

// sequential runs scripts one after another, since they share a device, and
// notes how they ended.
type sequential struct {
	*testing.T
	report *report.Report
	output *strings.Builder
}

func (s sequential) Parallel()     {}
func (s sequential) Verbose() bool { return testing.Verbose() }
func (s sequential) Log(args ...any) {
	s.Helper()
	fmt.Fprintln(s.output, args...)
	s.T.Log(args...)
}
func (s sequential) Fatal(args ...any) {
	s.Helper()
	fmt.Fprintln(s.output, args...)
	s.T.Fatal(args...)
}
func (s sequential) Run(name string, f func(testscript.T)) {
	began, output, verdict := time.Now(), new(strings.Builder), report.OK
	ok := s.T.Run(name, func(t *testing.T) {
		defer func() {
			if t.Skipped() {
				verdict = report.Skipped
			}
		}()
		f(sequential{t, s.report, output})
	})
	if !ok {
		verdict = report.Failed
	}
	s.report.Add(report.Scenario{Name: name, Verdict: verdict, Took: time.Since(began), Output: output.String()})
}
