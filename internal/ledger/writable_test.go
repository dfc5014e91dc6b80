package ledger

import (
	"os"
	"path/filepath"
	"testing"
)

func testCheckWritable(t *testing.T, database string) {
	l := open(t, database)
	if err := CheckWritable(t.Context(), database); err != nil {
		t.Errorf("while it is in use: %v", err)
	}
	if err := l.Probe(t.Context()); err != nil {
		t.Errorf("the ledger after it was inspected: %v", err)
	}
	closeLedger(t, l)
	if err := CheckWritable(t.Context(), database); err != nil {
		t.Errorf("while it is not in use: %v", err)
	}
}

func TestCheckWritableCreatesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := CheckWritable(t.Context(), filepath.Join(dir, "notepay.db")); err != nil {
		t.Errorf("a ledger that could be made: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v; want nothing", left, err)
	}
}

func TestCheckWritableRejectsAnotherFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	content := []byte("this is not a database, and long enough to look like one by its size alone\n")
	if err := os.WriteFile(text, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a text":              text,
		"a directory":         dir,
		"a missing directory": filepath.Join(dir, "no", "such", "notepay.db"),
	} {
		if err := CheckWritable(t.Context(), path); err == nil {
			t.Errorf("%s passes for a ledger", name)
		}
	}
}
