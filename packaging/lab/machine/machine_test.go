package machine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// value is what follows an argument of QEMU's, each time.
func values(args []string, name string) []string {
	var out []string
	for i, a := range args[:len(args)-1] {
		if a == name {
			out = append(out, args[i+1])
		}
	}
	return out
}

func TestArgumentsOfAMinimalGuest(t *testing.T) {
	program, args, err := Config{Arch: "amd64", Kernel: "k", Dir: "/d", Append: "rdinit=/init"}.arguments(0)
	if err != nil || program != "qemu-system-x86_64" {
		t.Fatal(program, err)
	}
	for name, want := range map[string]string{
		"-accel": "tcg,thread=single", "-smp": "2", "-m": "1024", "-kernel": "k",
		"-append": "console=ttyS0 panic=-1 rdinit=/init", "-nic": "none",
	} {
		if got := values(args, name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"-initrd", "-tpmdev", "-drive", "-netdev"} {
		if slices.Contains(args, name) {
			t.Errorf("%s in %q", name, args)
		}
	}
	if !slices.Contains(values(args, "-chardev"), "socket,id=ctl,server=on,wait=off,path=/d/ctl") {
		t.Errorf("no channel in %q", args)
	}
}

func TestArgumentsOfADevice(t *testing.T) {
	program, args, err := Config{
		Arch: "arm64", Kernel: "k", Initrd: "i", Dir: "/d", Forward: 9465, Memory: 512, CPUs: 1,
		Variables: "/d/vars", TPM: "/d/tpm", Disks: []string{"format=raw,file=a", "format=raw,file=b"}, Args: []string{"-S"},
	}.arguments(4000)
	if err != nil || program != "qemu-system-aarch64" {
		t.Fatal(program, err)
	}
	for name, want := range map[string][]string{
		"-smp": {"1"}, "-m": {"512"}, "-initrd": {"i"}, "-append": {"console=ttyAMA0 panic=-1"},
		"-tpmdev": {"emulator,id=tpm0,chardev=tpm"},
		"-netdev": {"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:4000-:9465"},
		"-drive": {
			"if=pflash,unit=0,format=raw,readonly=on,file=" + firmwares["arm64"].code, "if=pflash,unit=1,format=raw,file=/d/vars",
			"if=none,id=d0,format=raw,file=a", "if=none,id=d1,format=raw,file=b",
		},
	} {
		if got := values(args, name); !slices.Equal(got, want) {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	if !slices.Contains(values(args, "-device"), "tpm-tis-device,tpmdev=tpm0") || args[len(args)-1] != "-S" {
		t.Errorf("arguments are %q", args)
	}
}

func TestUnknownArchitecture(t *testing.T) {
	if _, err := Start(Config{Arch: "vax"}); err == nil || !strings.Contains(err.Error(), `"vax"`) {
		t.Errorf("error is %v", err)
	}
	if err := newVariables("vax", filepath.Join(t.TempDir(), "f")); err == nil {
		t.Error("there are UEFI variables for it")
	}
}

// A machine that cannot start says what QEMU said.
func TestStartFails(t *testing.T) {
	g, err := Start(Config{Arch: "amd64", Kernel: "/nothing", Dir: t.TempDir()})
	if err == nil { // it went off once it was there
		err = errors.Join(g.Ready(t.Context()), g.Kill())
	}
	if err == nil || !strings.Contains(err.Error(), "/nothing") {
		t.Errorf("error is %v", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tl tail
	for range 100 {
		if n, err := tl.Write([]byte(strings.Repeat("x", 1023) + "\n")); n != 1024 || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := tl.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	if s := tl.String(); len(s) < 8<<10 || len(s) > 17<<10 || !strings.HasSuffix(s, "\nthe end") {
		t.Errorf("%d bytes, ending in %q", len(s), s[max(0, len(s)-10):])
	}
}

func TestNewVariables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vars")
	if err := newVariables("amd64", file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
