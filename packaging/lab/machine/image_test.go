package machine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPayload(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("lab"), 1<<20)
	file, disk := filepath.Join(dir, "file"), filepath.Join(dir, "disk")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Payload(disk, map[string]string{"name": file}); err != nil {
		t.Fatal(err)
	}
	got, err := debugfs(disk, "cat /name")
	if err != nil || got != string(content) {
		t.Errorf("%d bytes, want %d: %v", len(got), len(content), err)
	}
	if out, err := debugfs(disk, "stat /name"); err != nil || !strings.Contains(out, "Mode:  0755") {
		t.Errorf("%s %v", out, err)
	}
	if out, err := debugfs(disk, "show_super_stats -h"); err != nil || !strings.Contains(out, "volume name:   lab\n") {
		t.Errorf("%s %v", out, err)
	}
	if left, err := filepath.Glob(dir + "/payload*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := Payload(disk, map[string]string{"name": filepath.Join(dir, "nothing")}); err == nil {
		t.Error("no error for a file that is not there")
	}
}

// A cached image is taken as it is, and one that is not whole is named.
func TestCachedImage(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("CAM_LAB_CACHE", cache)
	rev, err := revision()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "images", "bookworm-amd64-"+rev)
	if err := os.MkdirAll(filepath.Join(dir, "modules"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Build("bookworm", "amd64", os.Stderr); err == nil || !strings.Contains(err.Error(), "remove the directory") {
		t.Errorf("error is %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "modules", "6.1.0"), 0o700); err != nil {
		t.Fatal(err)
	}
	img, err := Build("bookworm", "amd64", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Image{
		Suite: "bookworm", Arch: "amd64", Disk: dir + "/disk.img", Kernel: dir + "/vmlinuz", Initrd: dir + "/initrd",
		Release: "6.1.0", Modules: dir + "/modules/6.1.0",
	}); *img != want {
		t.Errorf("image is %+v, want %+v", *img, want)
	}
	if got := (&Device{Image: img}).String(); got != "bookworm/amd64, kernel 6.1.0" {
		t.Errorf("the device is called %q", got)
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("CAM_LAB_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/x")
	if dir, err := CacheDir(); dir != "/x/cam-os-edge" || err != nil {
		t.Errorf("%q, %v", dir, err)
	}
}

func TestScriptsAreSound(t *testing.T) {
	for _, name := range []string{"image.sh", "customize.sh", "configure.sh"} {
		if out, err := exec.Command("sh", "-n", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

func TestGoBuildSaysWhy(t *testing.T) {
	err := GoBuild("amd64", "./packaging/lab/nothing", filepath.Join(t.TempDir(), "out"))
	if err == nil || !strings.Contains(err.Error(), "packaging/lab/nothing") {
		t.Errorf("error is %v", err)
	}
}
