package energy

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Relative uncertainty of the model, by what it rests on. With measured end
// points a linear model is off by up to some 30% in single intervals, because
// two tasks can differ by half in power at equal CPU time; a rated power says
// less; a guess says only the order of magnitude.
const (
	errConfigured = 0.3
	errTable      = 0.5
	errGuess      = 1.0
)

// processor is what the machine says about its processor.
type processor struct {
	vendor, name string
	board        string // device tree model
	virtual      bool
}

// readProcessor takes the first CPU of /proc/cpuinfo, and the model of the
// board from the device tree.
func readProcessor(c Config) processor {
	var p processor
	for _, file := range []string{
		filepath.Join(c.Procfs, "device-tree/model"),
		filepath.Join(c.Sysfs, "firmware/devicetree/base/model"),
	} {
		if text, err := readHead(file, 256); err == nil {
			p.board = strings.TrimSpace(strings.TrimRight(text, "\x00"))
			break
		}
	}
	text, err := readHead(filepath.Join(c.Procfs, "cpuinfo"), 16<<10)
	if err != nil {
		return p
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "vendor_id":
			p.vendor = value
		case "model name":
			p.name = value
		case "flags":
			p.virtual = strings.Contains(" "+value+" ", " hypervisor ")
		case "Model": // Raspberry Pi kernels, at the end
			if p.board == "" {
				p.board = value
			}
		}
	}
	return p
}

// readHead reads the start of a file, at most so many bytes.
func readHead(file string, most int) (string, error) {
	f, err := os.OpenFile(file, nonblocking, 0) // #nosec G304 -- below a root that the operator gave
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := mustBeRegular(f); err != nil {
		return "", err
	}
	buf := make([]byte, most)
	n, err := f.Read(buf)
	if n == 0 {
		return "", err
	}
	return string(buf[:n]), nil
}

// power rates the processor, by configuration, table or guess.
func (c Config) power(p processor) rating {
	r := lookUp(p)
	if c.IdleWatts == 0 && c.MaxWatts == 0 {
		return r
	}
	idle, most := microwatts(c.IdleWatts), microwatts(c.MaxWatts)
	if idle > 0 && most > 0 {
		return rating{idle: idle, max: most, err: errConfigured, note: fmt.Sprintf("model: %v to %v W a package, configured", c.IdleWatts, c.MaxWatts)}
	}
	// Half a configuration is completed in the proportion of the table.
	if most > 0 {
		idle = scale(most, r.idle, r.max)
	} else {
		most = scale(idle, r.max, r.idle)
	}
	return rating{idle: idle, max: most, err: errTable, note: fmt.Sprintf("model: %.3g to %.3g W a package, one configured, the other in the proportion of %s", idle.Watts(), most.Watts(), r.note)}
}

func scale(p, num, den Microwatts) Microwatts {
	return Microwatts(math.Round(float64(p) * float64(num) / float64(den)))
}

func microwatts(w float64) Microwatts { return Microwatts(math.Round(w * 1e6)) }

// lookUp finds the processor in the table, or guesses.
func lookUp(p processor) rating {
	for _, b := range boards {
		if p.board != "" && regexp.MustCompile(`(?i)`+b.match).MatchString(p.board) {
			return rating{idle: microwatts(b.idle), max: microwatts(b.max), board: true, err: errTable,
				note: fmt.Sprintf("model: %v to %v W, the whole board, from a table entry for %s", b.idle, b.max, p.board)}
		}
	}
	for _, t := range processors {
		if p.name == "" || !regexp.MustCompile(`(?i)`+t.match).MatchString(p.name) {
			continue
		}
		r := rating{idle: microwatts(t.idle), max: microwatts(t.max), err: errTable,
			note: fmt.Sprintf("model: %v to %v W a package, from a table entry for %s", t.idle, t.max, p.name)}
		if p.virtual {
			// A guest draws its CPUs' part of a host whose size is not known.
			r.per, r.most, r.err = t.threads, t.threads, errGuess
			r.note = fmt.Sprintf("model: this machine's part of a package of %d CPUs with %v to %v W, guessed from %s; it is virtual", t.threads, t.idle, t.max, p.name)
		}
		return r
	}
	idle, most := 0.4, 1.5
	if runtime.GOARCH == "amd64" || p.vendor != "" {
		idle, most = 0.6, 4
	}
	return rating{idle: microwatts(idle), max: microwatts(most), per: 1, err: errGuess,
		note: fmt.Sprintf("model: %v to %v W a CPU, a guess, since the processor is not in the table; configure idle and max watts", idle, most)}
}
