package contract

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) {
	code, err := withBinary(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withBinary builds notepay once for all tests, as released: without cgo.
func withBinary(run func() int) (code int, err error) {
	if os.Getenv("NOTEPAY_BINARY") != "" {
		return run(), nil
	}
	dir, err := os.MkdirTemp("", "notepay-tests-")
	if err != nil {
		return 1, fmt.Errorf("build notepay: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "notepay")
	build := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build notepay: %w\n%s", err, output)
	}
	if err := os.Setenv("NOTEPAY_BINARY", path); err != nil {
		return 1, err
	}
	return run(), nil
}

// unavailable skips a test that lacks something on this machine. If everything is required it fails
// instead, so that a skipped test does not count as passed.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("NOTEPAY_REQUIRE") == "1" {
		t.Fatalf("NOTEPAY_REQUIRE=1 and "+format, args...)
	}
	t.Skipf("skipped: "+format, args...)
}
