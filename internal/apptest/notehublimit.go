package apptest

import "time"

// WantLimit checks that Notehub was never asked more often in a minute than it allows.
func (f *Front) WantLimit(limit int) {
	f.Helper()
	asked := f.Notehub.Requests("{any} /{rest...}")
	most := 0
	for i, r := range asked {
		if r.Status == 429 {
			f.Errorf("%s %s at %v was refused with 429", r.Method, r.Path, r.At.Sub(asked[0].At))
		}
		n := 1
		for _, later := range asked[i+1:] {
			if later.At.Sub(r.At) < time.Minute {
				n++
			}
		}
		most = max(most, n)
	}
	f.Logf("%d requests, at most %d in a minute", len(asked), most)
	if most > limit {
		f.Errorf("up to %d requests in a minute; want at most %d", most, limit)
	}
}
