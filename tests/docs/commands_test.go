package docs

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// commands returns the commands in the shell blocks of a document, with continued lines joined and
// without comments.
func commands(document string) (list []string) {
	joined := ""
	for _, l := range lines(document) {
		if l.fence != "sh" {
			continue
		}
		text, _, _ := strings.Cut(l.text, " #")
		if rest, continued := strings.CutSuffix(text, "\\"); continued {
			joined += rest
			continue
		}
		if text = strings.TrimSpace(joined + text); text != "" {
			list = append(list, text)
		}
		joined = ""
	}
	return list
}

// covered returns which test runs a command of the documents, by its beginning, or why none does.
func covered() []struct{ command, by string } {
	return []struct{ command, by string }{
		{"make demo", "TestDemoCommand"},
		{"go run . demo", "TestDemoCommand"},
		{"make test", "because: it is the run that this test is part of"},
		{"make build", "because: .ci/run runs it, and the contract tests build the same"},
		{"sudo apt install", "because: packaging/deb_test.sh installs the package"},
		{"docker compose -f deploy/compose.yml up -d", "because: no engine runs here; TestDeploy reads the files"},
		{"docker compose up -d", "because: no engine runs here; TestComposeFile and TestDockerfile read the files"},
		{"ssh-keygen -Y verify", "because: packaging/release.sh signs for it"},
		{"sha256sum --check", "because: packaging/release.sh writes the checksums with sha256sum"},
		{"sudo notepay init", "TestInit"},
		{"litestream", "because: TestRestoreOfWhatLitestreamStreamed does to the ledger what Litestream does"},
		{"notepay restore", "TestRestoreOfWhatLitestreamStreamed"},
		{"sudo systemctl enable", "because: TestUnit lets systemd judge the unit"},
		{"sudo notepay check", "because: it is the check that TestReadmeInstallation runs"},
		{"make check", "because: .ci/run runs it"},
		{"make help", "TestHelpTarget"},
		{"cp .env.example .env", "TestReadmeInstallation"},
		{"chmod 600 .env", "TestReadmeInstallation"},
		{"./notepay migrate-store", "TestPostgresMoveKilled"},
		{"./notepay", "TestReadmeInstallation"},
		{"stripe products create", "TestStripeCommands"},
		{"stripe prices create", "TestStripeCommands"},
		{"stripe webhook_endpoints create", "TestReadmeEndpointPassesCheck"},
		{"stripe trigger", "TestStripeCommands"},
		{"sudo apt-get install", "because: .ci/run installs the packages that the tests need"},
		{"tests/firmware/sketches.sh", "because: make firmware runs it"},
		{"avrdude", "because: it needs a board"},
		{"npm ci --prefix tests/avr", "because: .ci/run runs it"},
		{"node tests/avr/board.js", "because: make firmware runs the same simulated Uno, faster"},
		{"stripe listen", "because: it receives its events from Stripe; TestReadmeListen holds its list of events"},
	}
}

// TestCommands requires every shell command in the documents to be run by a test, or to be listed
// with the reason.
func TestCommands(t *testing.T) {
	t.Parallel()
	tests := ""
	for _, name := range files(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		tests += read(t, name)
	}
	used := map[string]bool{}
	for _, name := range documents(t) {
		for _, command := range commands(read(t, name)) {
			n := slices.IndexFunc(covered(), func(c struct{ command, by string }) bool {
				return command == c.command || strings.HasPrefix(command, c.command+" ")
			})
			if n < 0 {
				t.Errorf("%s: no test runs %q", name, command)
				continue
			}
			used[covered()[n].command] = true
		}
	}
	for _, c := range covered() {
		if !used[c.command] {
			t.Errorf("no document has the command %q", c.command)
		}
		if !strings.HasPrefix(c.by, "because: ") && !strings.Contains(tests, "\nfunc "+c.by+"(t *testing.T)") {
			t.Errorf("%q is to be run by %s, which does not exist", c.command, c.by)
		}
	}
}

// TestHelpTarget runs make help.
func TestHelpTarget(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("make")
	if err != nil {
		t.Skipf("there is no make: %v", err)
	}
	c := exec.CommandContext(t.Context(), tool, "--no-print-directory", "help")
	c.Dir = root
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("make help: %v\n%s", err, out)
	}
	for _, target := range targets(t) {
		if !strings.Contains(string(out), "\n"+target+": ") && !strings.HasPrefix(string(out), target+": ") {
			t.Errorf("make help does not name %s", target)
		}
	}
}
