package apptest

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Within makes a request and wants an answer in time.
func (s *Service) Within(limit time.Duration, path string) (int, string) {
	s.W.Helper()
	began := time.Now()
	status, _, text := s.Get(path)
	if took := time.Since(began); took > limit {
		s.W.Errorf("%s took %v; want at most %v", path, took, limit)
	}
	return status, text
}

// Loses waits until a service has ended because it lost the lock.
func (p *Process) Loses(t *testing.T) {
	t.Helper()
	select {
	case err := <-p.Ended:
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.ExitCode() != 1 ||
			!strings.Contains(p.complaints.String(), "the lock on the database was lost") {
			t.Errorf("the service ended with %v, %q; want exit code 1 and the reason", err, p.complaints)
		}
	case <-time.After(20 * time.Second):
		t.Error("20 s after the lock was lost the service still runs")
		_ = p.Cmd.Process.Kill()
	}
}
