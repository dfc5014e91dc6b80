package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs a script of packaging and returns what it prints.
func script(t *testing.T, input string, env []string, name string, args ...string) (out string, err error) {
	t.Helper()
	path, err := filepath.Abs("../../packaging/" + name)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Stdin, c.Env = strings.NewReader(input), append(os.Environ(), env...)
	text, err := c.CombinedOutput()
	return string(text), err
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReleaseSignature signs the files of a release with a key of its own, and verifies them with the
// commands of the README. A changed file, changed checksums and another key are refused.
func TestReleaseSignature(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skipf("there is no ssh-keygen: %v", err)
	}
	_, commands, found := strings.Cut(read(t, "README.md"), "check the signature of the checksums")
	_, commands, opened := strings.Cut(commands, "```sh\n")
	commands, _, closed := strings.Cut(commands, "```")
	if !found || !opened || !closed || strings.Count(commands, "\n") != 2 {
		t.Fatalf("the README verifies with %q; want two commands", commands)
	}
	dir := t.TempDir()
	newKey := func(name string) (file, public string) {
		file = filepath.Join(dir, name)
		c := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		text, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		return file, string(text)
	}
	key, public := newKey("maintainer")
	_, stranger := newKey("stranger")

	for _, c := range []struct {
		name, trusted string
		damage        func(release string)
		refused       string // "" if all is well
	}{
		{"as released", public, func(string) {}, ""},
		{"without the files that were not downloaded", public, func(r string) {
			if err := os.Remove(filepath.Join(r, "notepay_b")); err != nil {
				t.Error(err)
			}
		}, ""},
		{"a changed file", public, func(r string) { write(t, filepath.Join(r, "notepay_a"), "changed") }, "FAILED"},
		{"changed checksums", public, func(r string) { write(t, filepath.Join(r, "SHA256SUMS"), "changed") },
			"Could not verify signature"},
		{"another key", stranger, func(string) {}, "Could not verify signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			release := t.TempDir()
			write(t, filepath.Join(release, "notepay_a"), "a")
			write(t, filepath.Join(release, "notepay_b"), "b")
			for range 2 { // the second run replaces the first
				if out, err := script(t, "", []string{"SIGN_KEY=" + key}, "checksums.sh", release); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			if sums, err := os.ReadFile(filepath.Join(release, "SHA256SUMS")); err != nil ||
				strings.Count(string(sums), "\n") != 2 {
				t.Fatalf("checksums %q, %v; want those of the two files", sums, err)
			}
			write(t, filepath.Join(release, "allowed_signers"), "notepay "+c.trusted)
			c.damage(release)
			verify := exec.CommandContext(t.Context(), "sh", "-ec", commands)
			verify.Dir = release
			out, err := verify.CombinedOutput()
			if (err == nil) != (c.refused == "") || !strings.Contains(string(out), c.refused) {
				t.Errorf("%v; want %q\n%s", err, c.refused, out)
			}
		})
	}
}

// TestReleaseChanges takes the part of a version out of a changelog.
func TestReleaseChanges(t *testing.T) {
	t.Parallel()
	const changelog = "# Changelog\n\n## Unreleased\n\n- New.\n\n## 1.2.30 - 2026-11-30\n\n- Thirty.\n\n" +
		"## 1.2.3 - 2026-10-01\n\n- Three.\n\n## 1.0.0\n"
	for version, want := range map[string]string{
		"v1.2.3":                                    "- Three.",
		"v1.2.30":                                   "- Thirty.",
		"v0.0.0-20261130073942-00a94dc1e3a4":        "- New.",
		"v1.2.31-0.20261130073942-00a94dc1e3a4":     "- New.",
		"v1.3.0-rc.1.0.20261130073942-00a94dc1e3a4": "- New.",
		"v1.0.0":      "CHANGELOG.md says nothing about 1.0.0",
		"v2.0.0":      "CHANGELOG.md says nothing about 2.0.0",
		"v1.2.3-rc.1": "CHANGELOG.md says nothing about 1.2.3-rc.1",
	} {
		got, err := script(t, changelog, nil, "changes.sh", version)
		if refused := strings.HasPrefix(want, "CHANGELOG"); (err != nil) != refused ||
			!strings.Contains(got, want) || !refused && strings.Count(got, "\n- ") != 1 {
			t.Errorf("%s: %q, %v; want %q alone", version, got, err, want)
		}
	}
}
