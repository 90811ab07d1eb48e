package block

import (
	"os"
	"path/filepath"
	"testing"
)

// tree is a /sys of a test's own.
type tree struct {
	t   *testing.T
	dir string
}

func (y tree) file(name, content string) {
	y.t.Helper()
	name = filepath.Join(y.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		y.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		y.t.Fatal(err)
	}
}

// disk makes a disk's directory with a link to it from its number, if it has
// one, and empty files in it.
func (y tree) disk(number, name string, files ...string) {
	y.t.Helper()
	at := "devices/virtual/block/" + name
	hidden := "0\n"
	if number == "" {
		hidden = "1\n"
	}
	y.file(at+"/hidden", hidden)
	for _, f := range files {
		y.file(at+"/"+f, "")
	}
	links := []string{"block/" + name}
	if number != "" {
		links = append(links, "dev/block/"+number)
	}
	for _, l := range links {
		l = filepath.Join(y.dir, l)
		if err := os.MkdirAll(filepath.Dir(l), 0o700); err != nil {
			y.t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(y.dir, at), l); err != nil {
			y.t.Fatal(err)
		}
	}
}

func (y tree) remove(names ...string) {
	y.t.Helper()
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(y.dir, n)); err != nil {
			y.t.Fatal(err)
		}
	}
}

func TestDisks(t *testing.T) {
	y := tree{t, t.TempDir()}
	y.disk("8:0", "sda")
	y.disk("104:0", "cciss!c0d0")
	y.disk("253:0", "dm-0", "dm/name", "slaves/sda")
	y.disk("9:0", "md0", "md/level")
	y.disk("7:3", "loop3", "loop/backing_file")
	y.disk("252:0", "bcache0", "slaves/sdb", "slaves/nvme0n1")
	y.disk("259:0", "nvme0n1", "multipath/nvme0c0n1")
	y.disk("", "nvme0c0n1")
	d := disks{sysfs: y.dir}
	for _, c := range []struct {
		dev    Device
		called string
		want   Disk
		there  bool
	}{
		{Device{8, 0}, "", Disk{"sda", false}, true},
		{Device{8, 0}, "sdz", Disk{"sda", false}, true}, // the number has a new owner
		{Device{104, 0}, "cciss!c0d0", Disk{"cciss!c0d0", false}, true},
		{Device{253, 0}, "dm-0", Disk{"dm-0", true}, true},
		{Device{9, 0}, "md0", Disk{"md0", true}, true},
		{Device{7, 3}, "loop3", Disk{"loop3", true}, true},
		{Device{252, 0}, "bcache0", Disk{"bcache0", true}, true},
		{Device{259, 0}, "nvme0n1", Disk{"nvme0n1", true}, true},
		{Device{259, 1}, "nvme0c0n1", Disk{"nvme0c0n1", false}, true},
		// Gone before the first look.
		{Device{8, 16}, "sdb", Disk{"sdb", false}, false},
		{Device{8, 16}, "", Disk{"8:16", false}, false},
		{Device{8, 16}, "sda", Disk{"sda", false}, false}, // that one has another number now
		{Device{253, 9}, "dm-9", Disk{"dm-9", true}, false},
		{Device{7, 9}, "", Disk{"7:9", true}, false},
	} {
		if got, there := d.look(c.dev, c.called); got != c.want || there != c.there {
			t.Errorf("%v %q: %+v %v", c.dev, c.called, got, there)
		}
	}
}

func TestDisksComeAndGo(t *testing.T) {
	y := tree{t, t.TempDir()}
	y.disk("259:0", "sdk", "slaves/sda")
	dev := Device{259, 0}
	d := disks{sysfs: y.dir}
	expect := func(want Disk, there bool) {
		t.Helper()
		got, is := d.look(dev, "sdk")
		if got != want || is != there {
			t.Errorf("%+v %v, want %+v %v", got, is, want, there)
		}
		d.keep(map[Device]Disk{dev: got})
	}
	expect(Disk{"sdk", true}, true)
	y.remove("devices/virtual/block/sdk/slaves")
	expect(Disk{"sdk", true}, true) // what it did was done by others
	y.remove("dev/block/259:0", "block/sdk")
	expect(Disk{"sdk", true}, false)
	y.disk("259:0", "nvme1n1")
	expect(Disk{"nvme1n1", false}, true)
}

func TestDiskNames(t *testing.T) {
	var n blockDiskName
	for i, c := range "cciss/c0d0" {
		n.Name[i] = int8(c)
	}
	if n.String() != "cciss!c0d0" {
		t.Errorf("%q", n)
	}
	for i := range n.Name {
		n.Name[i] = 'x' // no end
	}
	if len(n.String()) != len(n.Name) {
		t.Errorf("%q", n)
	}
	for _, d := range []Device{{8, 0}, {259, 1<<20 - 1}, {4095, 3}} {
		if got := (Key{Device: d}).kernel().key().Device; got != d {
			t.Errorf("%v became %v", d, got)
		}
	}
}
