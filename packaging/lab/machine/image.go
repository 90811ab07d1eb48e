package machine

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Image is a Debian with systemd, and nothing of ours but a unit that starts
// the lab's program from the disk labelled "lab".
type Image struct {
	Suite, Arch string
	// Disk is an ext4 file system: copy it before writing.
	Disk string
	// Kernel and Initrd boot it; Release is what uname -r says.
	Kernel, Initrd, Release string
	// Modules is the kernel's module tree.
	Modules string
}

//go:embed image.sh customize.sh configure.sh
var recipe embed.FS

// revision of the recipe: a change to it makes new images.
func revision() (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(recipe, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := recipe.ReadFile(name)
		fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:4]), err
}

// CacheDir is where images and kernels are kept.
func CacheDir() (string, error) {
	if dir := os.Getenv("CAM_LAB_CACHE"); dir != "" {
		return dir, nil
	}
	base, err := os.UserCacheDir()
	return filepath.Join(base, "cam-os-edge"), err
}

// Build returns the image of a Debian suite, made when the cache lacks it:
// that needs root, mmdebstrap and a Debian mirror (CAM_LAB_MIRROR, or the
// usual one). The image of a foreign architecture is finished in a guest.
func Build(suite, arch string, log io.Writer) (*Image, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	rev, err := revision()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "images", fmt.Sprintf("%s-%s-%s", suite, arch, rev))
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(log, "lab: building the image of %s for %s (once)\n", suite, arch)
		if err := build(suite, arch, dir, log); err != nil {
			return nil, fmt.Errorf("image of %s for %s: %w", suite, arch, err)
		}
	}
	return open(suite, arch, dir)
}

func open(suite, arch, dir string) (*Image, error) {
	releases, err := filepath.Glob(dir + "/modules/*")
	if err != nil || len(releases) != 1 {
		return nil, fmt.Errorf("%s/modules: want one kernel, found %v; remove the directory, it is made anew", dir, releases)
	}
	return &Image{
		Suite: suite, Arch: arch, Disk: dir + "/disk.img", Kernel: dir + "/vmlinuz", Initrd: dir + "/initrd",
		Release: filepath.Base(releases[0]), Modules: releases[0],
	}, nil
}

func build(suite, arch, dir string, log io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { // #nosec G301 -- mmdebstrap's _apt user passes through
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // #nosec G302 -- the same
		return err
	}
	mirror := os.Getenv("CAM_LAB_MIRROR")
	if mirror == "" && (suite == "bullseye" || suite == "sid") {
		// No updates of their own, or such as are no longer whole.
		mirror = "http://deb.debian.org/debian"
	}
	if err := os.CopyFS(tmp, recipe); err != nil {
		return err
	}
	c := exec.Command("sh", tmp+"/image.sh", suite, arch, tmp, mirror) // #nosec G204 G702 -- our own
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out := &tail{}
	c.Stdout, c.Stderr = io.MultiWriter(log, out), io.MultiWriter(log, out)
	if err := c.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(out.String()))
	}
	img, err := open(suite, arch, tmp)
	if err != nil {
		return err
	}
	if _, err := os.Stat(img.Initrd); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(log, "lab: installing the packages of %s in a guest, which takes long\n", arch)
		if err := configure(img, tmp); err != nil {
			return err
		}
	}
	err = os.Rename(tmp, dir)
	if _, there := os.Stat(dir); there == nil {
		return nil // another lab was faster
	}
	return err
}

// Payload makes a read-only disk labelled "lab" with files under the names
// given.
func Payload(path string, files map[string]string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), "payload")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var size int64
	for name, file := range files {
		data, err := os.ReadFile(file) // #nosec G304 -- what the lab packs
		if err != nil {
			return err
		}
		size += int64(len(data))
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil { // #nosec G306 G703 -- programs
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // #nosec G302 -- read in the guest by any user
		return err
	}
	size += size/8 + 8<<20
	c := exec.Command("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", "lab", "-E", "root_owner=0:0", "-d", dir, path, fmt.Sprintf("%dk", size>>10)) // #nosec G204
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	return nil
}
