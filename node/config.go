package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/metrics"
)

// Config of a node. The zero value is not usable: start from DefaultConfig.
type Config struct {
	// StateDir holds what must survive: the store.
	StateDir string `yaml:"state_dir"`
	// Socket is the unix socket that verbs are called on.
	Socket string `yaml:"socket"`
	// Interval between two samples.
	Interval time.Duration  `yaml:"interval"`
	Path     PathConfig     `yaml:"path"`
	Sensor   SensorConfig   `yaml:"sensor"`
	Energy   EnergyConfig   `yaml:"energy"`
	Agents   agent.Config   `yaml:"agents"`
	Metrics  metrics.Config `yaml:"metrics"`
	Store    StoreConfig    `yaml:"store"`
}

// PathConfig says where the kernel's file systems are mounted.
type PathConfig struct {
	Sysfs  string `yaml:"sysfs"`
	Procfs string `yaml:"procfs"`
	Cgroup string `yaml:"cgroup"`
}

// SensorConfig chooses how use is measured.
type SensorConfig struct {
	// Source is ebpf, cgroup or procfs; empty takes the best there is.
	Source string `yaml:"source"`
	// MaxCgroups bounds the cgroups that are told apart in the kernel; what
	// does not fit is measured, and charged to unattributed.
	MaxCgroups int `yaml:"max_cgroups"`
	// Waits: how long tasks wait for a CPU.
	Waits bool `yaml:"waits"`
	// Block: I/O on disks.
	Block bool `yaml:"block"`
	// Controllers: throttling, memory and pressure of agents.
	Controllers bool `yaml:"controllers"`
	// Network: traffic of agents.
	Network bool `yaml:"network"`
}

// EnergyConfig describes the machine where no meter does.
type EnergyConfig struct {
	// IdleWatts and MaxWatts are of one package; see energy.Config.
	IdleWatts float64 `yaml:"idle_watts"`
	MaxWatts  float64 `yaml:"max_watts"`
	// Ignore and Board are patterns of zone names; see energy.Config.
	Ignore []string `yaml:"ignore"`
	Board  []string `yaml:"board"`
}

// StoreConfig bounds what is kept.
type StoreConfig struct {
	// MaxBytes of the database file, compaction included.
	MaxBytes int64 `yaml:"max_bytes"`
	// CommitEvery is how often accounts and series reach the disk: what a
	// power cut may cost, against flash wear.
	CommitEvery time.Duration `yaml:"commit_every"`
}

// DefaultConfig is what a device runs with when nothing is configured.
func DefaultConfig() Config {
	return Config{
		StateDir: "/var/lib/cam",
		Socket:   "/run/cam/cam.sock",
		Interval: time.Second,
		Path:     PathConfig{Sysfs: "/sys", Procfs: "/proc", Cgroup: "/sys/fs/cgroup"},
		Sensor:   SensorConfig{MaxCgroups: 4096, Waits: true, Block: true, Controllers: true, Network: true},
		Agents:   agent.DefaultConfig(),
		Metrics:  metrics.DefaultConfig(),
		Store:    StoreConfig{MaxBytes: 64 << 20, CommitEvery: time.Minute},
	}
}

// maxConfigBytes bounds a configuration file: larger ones are a mistake.
const maxConfigBytes = 1 << 20

// LoadConfig reads YAML over the defaults. Unknown keys are errors; errors
// name the file and the line.
func LoadConfig(path string) (Config, error) {
	cfg := DefaultConfig()
	f, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return cfg, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return cfg, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if len(data) > maxConfigBytes {
		return cfg, fmt.Errorf("%s is larger than %d bytes: not a configuration", path, maxConfigBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return cfg, fmt.Errorf("%s: %w", path, tidy(err))
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return cfg, fmt.Errorf("%s: more than one YAML document", path)
	}
	return cfg, nil
}

// tidy takes Go's type names out of the YAML library's messages.
func tidy(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return err
	}
	errs := make([]error, 0, len(te.Errors))
	for _, m := range te.Errors {
		if before, _, ok := bytes.Cut([]byte(m), []byte(" not found in type ")); ok {
			m = string(bytes.Replace(before, []byte("field "), []byte("unknown key "), 1))
		}
		if before, ok := strings.CutSuffix(m, " into time.Duration"); ok {
			m = before + ": want a duration with its unit, such as 1s or 500ms"
		}
		errs = append(errs, errors.New(m))
	}
	return errors.Join(errs...)
}

// Validate checks what can be checked without the machine.
func (c Config) Validate() error {
	for _, p := range []struct{ key, value string }{
		{"state_dir", c.StateDir}, {"socket", c.Socket},
		{"path.sysfs", c.Path.Sysfs}, {"path.procfs", c.Path.Procfs}, {"path.cgroup", c.Path.Cgroup},
	} {
		if p.value == "" {
			return fmt.Errorf("%s is empty", p.key)
		}
	}
	if c.Interval < 100*time.Millisecond || c.Interval > time.Minute {
		return fmt.Errorf("interval %v: want 100ms to 1m", c.Interval)
	}
	switch c.Sensor.Source {
	case "", "ebpf", "cgroup", "procfs":
	default:
		return fmt.Errorf("sensor.source %q: want ebpf, cgroup or procfs, or nothing for the best there is", c.Sensor.Source)
	}
	if c.Sensor.MaxCgroups < 1 || c.Sensor.MaxCgroups > 1<<16 {
		return fmt.Errorf("sensor.max_cgroups %d: want 1 to %d", c.Sensor.MaxCgroups, 1<<16)
	}
	const kilo = 100_000
	if e := c.Energy; !(e.IdleWatts >= 0 && e.MaxWatts >= 0 && e.IdleWatts <= kilo && e.MaxWatts <= kilo) { // also refuses NaN
		return fmt.Errorf("energy.idle_watts %v, energy.max_watts %v: want 0 to %d", e.IdleWatts, e.MaxWatts, kilo)
	}
	if e := c.Energy; e.MaxWatts > 0 && e.IdleWatts > e.MaxWatts {
		return fmt.Errorf("energy.idle_watts %v is above energy.max_watts %v", e.IdleWatts, e.MaxWatts)
	}
	for key, patterns := range map[string][]string{"energy.ignore": c.Energy.Ignore, "energy.board": c.Energy.Board} {
		for _, p := range patterns {
			if _, err := path.Match(p, ""); err != nil || p == "" {
				return fmt.Errorf("%s %q: want a pattern of a zone's name, such as gpu*", key, p)
			}
		}
	}
	if c.Store.MaxBytes < 4<<20 {
		return fmt.Errorf("store.max_bytes %d: want at least %d", c.Store.MaxBytes, 4<<20)
	}
	if c.Store.CommitEvery < time.Second || c.Store.CommitEvery > time.Hour {
		return fmt.Errorf("store.commit_every %v: want 1s to 1h", c.Store.CommitEvery)
	}
	if err := c.Metrics.Validate(); err != nil {
		return err
	}
	return c.Agents.Validate()
}

// Absolute resolves relative paths against the working directory, so that a
// later change of directory changes nothing.
func (c *Config) Absolute() error {
	for _, p := range []*string{&c.StateDir, &c.Socket, &c.Path.Sysfs, &c.Path.Procfs, &c.Path.Cgroup} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}
