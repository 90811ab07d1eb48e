package systemd

import (
	"context"
	"fmt"
)

// Service is what the service manager says of a service.
type Service struct {
	State  string // "active", "activating", "failed" …
	Detail string // "running", "auto-restart" …
	Status string // what the service said of itself last; may be empty
}

// FindService asks for a service by its unit's name. One that is not installed
// has the state "inactive" and says nothing.
func FindService(ctx context.Context, unit string) (Service, error) {
	conn, err := connect(ctx)
	if err != nil {
		return Service{}, err
	}
	defer conn.Close()
	properties, err := conn.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return Service{}, fmt.Errorf("systemd says nothing of %s: %w", unit, err)
	}
	text := func(name string) string {
		s, _ := properties[name].(string)
		return s
	}
	return Service{State: text("ActiveState"), Detail: text("SubState"), Status: text("StatusText")}, nil
}
