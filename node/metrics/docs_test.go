package metrics

import (
	"os"
	"strings"
	"testing"
)

// docs/metrics.md must say about each family what the endpoint says.
func TestEveryFamilyIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if row := f.row(); !strings.Contains(string(data), row) {
			t.Errorf("docs/metrics.md lacks the row\n%s", row)
		}
	}
}

func (f family) row() string {
	labels := "–"
	if len(f.labels) > 0 {
		labels = "`" + strings.Join(f.labels, "`, `") + "`"
	}
	return "| `" + f.name + "` | " + labels + " | " + f.help + " |"
}
