package node

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CheckConfig reads a configuration as LoadConfig does and validates it too.
// Errors name the file, and the line of the key that is wrong.
func CheckConfig(path string) (Config, error) {
	cfg, err := LoadConfig(path)
	if err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		if line := lineOf(path, err); line > 0 {
			return cfg, fmt.Errorf("%s: line %d: %w", path, line, err)
		}
		return cfg, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// Errors of Validate begin with the key that they are about: "interval 1ms:
// …", "agents.known[0] (agent-b): …".
var (
	keyPath = regexp.MustCompile(`^[a-z_]+(\.[a-z_]+|\[\d+\])*`)
	keyPart = regexp.MustCompile(`[a-z_]+|\d+`)
)

// lineOf finds the line of the key that err is about, 0 where that is not in
// the file. Of a key that is absent it is the line of what should hold it.
func lineOf(path string, err error) int {
	data, readErr := os.ReadFile(path) // #nosec G304 -- the operator names the file
	if readErr != nil {
		return 0
	}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return 0
	}
	at, line := doc.Content[0], 0
	for _, part := range keyPart.FindAllString(keyPath.FindString(err.Error()), -1) {
		key, value := child(at, part)
		if value == nil {
			break
		}
		at, line = value, key.Line
	}
	return line
}

// child returns the entry of a mapping or a sequence, and where it stands.
func child(of *yaml.Node, name string) (key, value *yaml.Node) {
	for of.Kind == yaml.AliasNode {
		of = of.Alias
	}
	switch of.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(of.Content); i += 2 {
			if strings.EqualFold(of.Content[i].Value, name) {
				return of.Content[i], of.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i < len(of.Content) {
			return of.Content[i], of.Content[i]
		}
	}
	return nil, nil
}
