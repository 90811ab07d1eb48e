package machine

import (
	"fmt"
	"os"
)

// firmware is UEFI: code, and the variables as they are on a new board. These
// are the paths of Debian's packages ovmf and qemu-efi-aarch64.
type firmware struct{ code, variables string }

var firmwares = map[string]firmware{
	"amd64": {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	"arm64": {"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
}

// newVariables writes the UEFI variables of a new board to a file.
func newVariables(arch, file string) error {
	data, err := os.ReadFile(firmwares[arch].variables)
	if err != nil {
		return fmt.Errorf("UEFI firmware for %s: %w; install Debian's ovmf (amd64) or qemu-efi-aarch64 (arm64)", arch, err)
	}
	return os.WriteFile(file, data, 0o600) // #nosec G703 -- in a directory of the lab
}

// drives are QEMU's arguments for a board with the variables in a file.
func (f firmware) drives(variables string) []string {
	return []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + f.code,
		"-drive", "if=pflash,unit=1,format=raw,file=" + variables,
	}
}
