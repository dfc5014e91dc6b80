//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestJournalAppends(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, 32)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, body := range []string{"first...", "second..", "third..."} {
		all.Go(func() {
			if err := j.append([]byte(body)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := j.append([]byte("the fourth begins again")); err != nil { // it no longer fits behind them
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(kept); len(kept) != 32 || !strings.HasPrefix(text, "the fourth begins again") {
		t.Errorf("the journal holds %q", text)
	}
	if err := j.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.append([]byte("lost")); err == nil {
		t.Error("a body is acknowledged that could not be written")
	}
	close(j.entries)
}
