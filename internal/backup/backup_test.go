package backup_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/backup"
	"notepay/internal/problem"
)

// run runs backups in a bubble of fake time, with a copy that fails while broken.
func run(t *testing.T, f func(dir string, problems *problem.Board, broken *atomic.Bool)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "backups")
	synctest.Test(t, func(t *testing.T) {
		problems, broken := &problem.Board{}, &atomic.Bool{}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			backup.Run(ctx, backup.Config{
				Dir:   dir,
				Every: 24 * time.Hour,
				Keep:  3,
				Copy: func(_ context.Context, file string) error {
					if broken.Load() {
						return errors.New("no space left on device")
					}
					return os.WriteFile(file, []byte("copy"), 0o600)
				},
				Problems: problems,
				Log:      slog.New(slog.DiscardHandler),
			})
		}()
		synctest.Wait()
		f(dir, problems, broken)
		stop()
		<-ended
	})
}

func count(t *testing.T, dir string) int {
	t.Helper()
	copies, err := backup.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(copies)
}

func TestRunKeepsTheNewest(t *testing.T) {
	t.Parallel()
	run(t, func(dir string, _ *problem.Board, _ *atomic.Bool) {
		other := filepath.Join(dir, "notepay-before-the-update.db")
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := count(t, dir); n != 1 {
			t.Errorf("%d copies at the start; want one at once", n)
		}
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if n := count(t, dir); n != 1 {
			t.Errorf("%d copies after 23 h; want 1", n)
		}
		time.Sleep(9 * 24 * time.Hour)
		synctest.Wait()
		copies, err := backup.List(dir)
		if err != nil || len(copies) != 3 || time.Since(copies[0].At) > 24*time.Hour {
			t.Errorf("%v, %v; want the three newest", copies, err)
		}
		if _, err := os.Stat(other); err != nil {
			t.Errorf("a file of another name is gone: %v", err)
		}
	})
}

func TestRunReportsFailures(t *testing.T) {
	t.Parallel()
	run(t, func(dir string, problems *problem.Board, broken *atomic.Bool) {
		broken.Store(true)
		time.Sleep(30 * time.Hour)
		synctest.Wait()
		if list := problems.List(); len(list) != 0 {
			t.Errorf("%v; want no alarm while the last copy is recent", list)
		}
		time.Sleep(20 * time.Hour)
		synctest.Wait()
		if list := problems.List(); len(list) != 1 || list[0].Code != problem.Backup || list[0].StopsSales {
			t.Errorf("%v; want the problem, and sales to go on", list)
		}
		broken.Store(false)
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if list := problems.List(); len(list) != 0 || count(t, dir) != 2 {
			t.Errorf("%v, %d copies; want a copy soon after the fault", list, count(t, dir))
		}
	})
}
