package ctl

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/node"
)

func (s *Session) supportBundleCommand() *cobra.Command {
	var config, output string
	c := &cobra.Command{
		Use:   "support-bundle",
		Short: "Pack what a bug report needs, without secrets",
		Long: `Pack what a bug report needs into a .tar.gz that only you can read, and say what
is in it: versions, what camctl doctor says, the configuration's values, one
observation, the sizes of the store's files, and the node's last log lines.

It holds no secrets. Of the configuration it has the values that the node knows,
without comments, and not the file of web_config. Figures of energy are rounded
down to 0.1 J and times to 1 s, and the cgroups that system consists of are left
out. Names of agents are in it. Without a running node it holds what can be had.`,
		Example: `  camctl support-bundle
  camctl support-bundle --output /tmp/cam.tar.gz && tar -tzf /tmp/cam.tar.gz`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.supportBundle(c.Context(), config, output, time.Now())
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVar(&config, "config", configFile, "the node's configuration file")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write (default cam-support-TIME.tar.gz here)")
	return c
}

// part is one file of a bundle.
type part struct {
	name, about string
	data        []byte
}

func (s *Session) supportBundle(ctx context.Context, config, output string, now time.Time) error {
	parts := []part{
		asJSON("versions.json", "this program, the kernel, the distribution", versions(s.Version)),
		s.doctorPart(ctx),
		configPart(config),
		s.observationPart(ctx),
		storePart(stateDir(config)),
		journalPart(ctx),
	}
	if output == "" {
		output = "cam-support-" + now.UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	// O_EXCL: nothing is replaced, and nobody's link is followed.
	f, err := os.OpenFile(output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- the user names the file
	if err != nil {
		return err
	}
	dir := strings.TrimSuffix(filepath.Base(output), ".tar.gz")
	if err := errors.Join(writeBundle(f, dir, parts, now), f.Close()); err != nil {
		return errors.Join(err, os.Remove(output))
	}
	fmt.Fprintf(s.Stdout, "%s holds, without secrets:\n", output)
	for _, p := range parts {
		fmt.Fprintf(s.Stdout, "  %-18s %s\n", p.name, p.about)
	}
	return nil
}

func writeBundle(f *os.File, dir string, parts []part, now time.Time) error {
	zip := gzip.NewWriter(f)
	archive := tar.NewWriter(zip)
	for _, p := range parts {
		h := &tar.Header{Name: dir + "/" + p.name, Mode: 0o600, Size: int64(len(p.data)), ModTime: now}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if _, err := archive.Write(p.data); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zip.Close())
}

func asJSON(name, about string, v any) part {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return part{name, about + " (missing: " + err.Error() + ")", nil}
	}
	return part{name, about, append(data, '\n')}
}

// versions is only of what cannot be told from elsewhere.
func versions(version string) map[string]string {
	v := map[string]string{"camctl": version, "go": runtime.Version(), "arch": runtime.GOARCH, "cpus": fmt.Sprint(runtime.NumCPU())}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		v["kernel"] = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
	}
	if data, err := os.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				v["distribution"] = strings.Trim(name, `"`)
			}
		}
	}
	return v
}

func (s *Session) doctorPart(ctx context.Context) part {
	d, err := s.diagnose(ctx)
	about := "what camctl doctor says, the node's version and state in it"
	switch {
	case d.Refused:
		about += fmt.Sprintf(" (%v)", err)
	case !d.Reachable:
		about += fmt.Sprintf(" (the node did not answer: %v)", err)
	}
	return asJSON("doctor.json", about, d)
}

// configPart writes the values that the node knows. Comments and unknown keys
// may hold anything, and an error may quote them: they are left out.
func configPart(file string) part {
	p := part{name: "node.yaml", about: "the configuration's values, without comments"}
	cfg, err := node.LoadConfig(file)
	if err != nil {
		if _, statErr := os.Stat(file); statErr != nil {
			err = statErr
		} else {
			err = errors.New("it cannot be read as a configuration; camctl check-config says why")
		}
		p.about += fmt.Sprintf(" (missing: %v)", err)
		return p
	}
	if cfg.Metrics.WebConfig != "" {
		cfg.Metrics.WebConfig = "(set)"
	}
	p.data, err = yaml.Marshal(cfg)
	if err != nil {
		p.about += fmt.Sprintf(" (missing: %v)", err)
	}
	return p
}

func (s *Session) observationPart(ctx context.Context) part {
	about := "one observation, energy in steps of 0.1 J, time of 1 s"
	o, err := s.observe(ctx, nil, false)
	if err != nil {
		return part{name: "observation.json", about: about + fmt.Sprintf(" (missing: %v)", err)}
	}
	return asJSON("observation.json", about, report.Coarse(o))
}

func stateDir(config string) string {
	if cfg, err := node.LoadConfig(config); err == nil {
		return cfg.StateDir
	}
	return node.DefaultConfig().StateDir
}

// storePart lists the store's files; what the node says of its store is among
// the doctor's findings.
func storePart(dir string) part {
	type file struct {
		Name     string    `json:"name"`
		Bytes    int64     `json:"bytes"`
		Modified time.Time `json:"modified"`
	}
	about := "names, sizes and times of the files in " + dir
	entries, err := os.ReadDir(dir)
	if err != nil {
		about += fmt.Sprintf(" (missing: %v)", err)
	}
	list := struct {
		Dir       string `json:"dir"`
		Files     []file `json:"files"`
		FreeBytes uint64 `json:"file_system_free_bytes"`
	}{Dir: dir, Files: []file{}}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			list.Files = append(list.Files, file{e.Name(), info.Size(), info.ModTime().UTC().Truncate(time.Second)})
		}
	}
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil {
		list.FreeBytes = fs.Bavail * uint64(fs.Bsize) // #nosec G115 -- a block size
	}
	return asJSON("store.json", about, list)
}

// journalPart is what the node itself logged; agents' output is never in it.
func journalPart(ctx context.Context) part {
	const lines = 500
	p := part{name: "journal.txt", about: fmt.Sprintf("the last %d lines that the node logged", lines)}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, "journalctl", "--unit", "cam-node.service", "--identifier", "cam-node", // #nosec G204 -- constants
		"--lines", fmt.Sprint(lines), "--no-pager", "--no-hostname", "--output", "short-iso")
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		words := strings.Fields(err.Error() + " " + errs.String())
		p.about += fmt.Sprintf(" (missing: %s)", strings.Join(words[:min(len(words), 30)], " "))
		return p
	}
	p.data = slices.Clip(out.Bytes())
	return p
}
