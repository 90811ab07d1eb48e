package machine

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A TPM has a maker's certificate authority, and can be switched on again.
func TestTPM(t *testing.T) {
	dir, err := os.MkdirTemp("", "tpm") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	chip, err := manufacture(dir)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate(t, filepath.Join(dir, "ca", "swtpm-localca-rootca-cert.pem")))
	if _, err := certificate(t, filepath.Join(dir, "ca", "issuercert.pem")).Verify(x509.VerifyOptions{Roots: pool}); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := chip.on(); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", chip.socket())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		chip.off()
		chip.off() // nothing happens
	}
}

func certificate(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Text stands before it.
	_, body, _ := strings.Cut(string(data), "-----BEGIN")
	block, _ := pem.Decode([]byte("-----BEGIN" + body))
	if block == nil {
		t.Fatalf("%s holds no certificate", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTPMThatCannotStart(t *testing.T) {
	chip := &tpm{dir: filepath.Join(t.TempDir(), strings.Repeat("too-long-for-a-socket", 6))}
	if err := chip.on(); err == nil {
		chip.off()
		t.Error("it is on")
	} else if !strings.Contains(err.Error(), "swtpm did not start") {
		t.Error(err)
	}
}
