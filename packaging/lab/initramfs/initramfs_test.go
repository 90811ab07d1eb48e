package initramfs

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The archive is what cpio(1) reads.
func TestWrite(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, []File{{"/init", []byte("odd")}, {"modules/deep/a.ko", []byte("four")}}); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := exec.Command("cpio", "-idm", "--quiet")
	c.Stdin, c.Dir = z, dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"init": "odd", "modules/deep/a.ko": "four"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		// As depmod writes it: what is to be loaded first comes last.
		"modules.dep":     "k/ext4.ko: k/jbd2.ko k/crc16.ko\nk/jbd2.ko: k/crc16.ko\nk/crc16.ko:\nk/other.ko:\n",
		"modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
		"k/ext4.ko":       "ext4", "k/jbd2.ko": "jbd2", "k/crc16.ko": "crc16",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Modules(dir, "virtio_pci", "ext4", "jbd2")
	if err != nil {
		t.Fatal(err)
	}
	var got, names []string
	for _, f := range files {
		got, names = append(got, string(f.Data)), append(names, f.Name)
	}
	if want := []string{"crc16", "jbd2", "ext4"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !slices.IsSorted(names) {
		t.Errorf("the names do not keep the order: %v", names)
	}
	if _, err := Modules(dir, "nonesuch"); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("got %v", err)
	}
}
