package systemd

import (
	"errors"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

func accounting(name string) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(true)}
}

func isUnitExists(err error) bool {
	var e godbus.Error
	return errors.As(err, &e) && e.Name == "org.freedesktop.systemd1.UnitExists"
}
